import type { TestContext } from 'node:test'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'

/** Made for these tests alone: localhost, self-signed, valid until 2126. */
export const certificate = `-----BEGIN CERTIFICATE-----
MIIBlTCCATugAwIBAgIUAJiGfU34IC7SRjTAGzt01o+W9xkwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMjE0MDczMVoYDzIxMjYxMDI5
MTQwNzMxWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQYaI/3tPUAozknzKu2MXFPjKrwd5SUzUOzRBNR1reocQETf0v2WLvE
uFbHW82vrYkhauKDlPNQRbxTYNu9VVBao2kwZzAdBgNVHQ4EFgQUdzIKmXYCcmht
olpZwYXitmU2BwcwHwYDVR0jBBgwFoAUdzIKmXYCcmhtolpZwYXitmU2BwcwDwYD
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwID
SAAwRQIgFVAgtFLVykNFdeWNcCZapo3LORMZzue0AVb5yZi2kAMCIQC1E2ga/eIi
RTOo7WcBxm7wnkJupV2JYFTYcgLdE8cU7A==
-----END CERTIFICATE-----`
export const key = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgjXE/XEU/9gDq+Wq3
6J/OTQ+YeaK8sW0dQxuDljE4/gehRANCAAQYaI/3tPUAozknzKu2MXFPjKrwd5SU
zUOzRBNR1reocQETf0v2WLvEuFbHW82vrYkhauKDlPNQRbxTYNu9VVBa
-----END PRIVATE KEY-----`

/** Lets this process believe the certificate until the test ends. */
export function trustCertificate(t: TestContext): void {
  const trusted = getCACertificates('default')
  setDefaultCACertificates([...trusted, certificate])
  t.after(() => setDefaultCACertificates(trusted))
}
