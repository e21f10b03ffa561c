/** `Content-Type` of JSON and of what is written in it (RFC 8259 §11, RFC 6839 §3.1). */
export const jsonMediaType = /^application\/(?:[\w.+-]+\+)?json\s*(?:;|$)/i
