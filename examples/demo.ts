/**
 * The API key of the demo, of the form that `sallyport keys create` makes. It is no secret and opens nothing else:
 * services.json lists its SHA-256 digest, and only the services.json of this repository does.
 */
export const demoKey = 'sp_demoOnly_ThisKeyOpensNothingButTheDemo0010M3dJm'
