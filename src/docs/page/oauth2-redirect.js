// Where the authorization server sends the browser back to (RFC 6749 §4.1.2): hands its answer to the documentation page.
//
// Swagger UI's own redirect page reaches for `window.opener`, which is null as soon as any page of the journey sets a
// Cross-Origin-Opener-Policy, as many authorization servers do. A BroadcastChannel needs no opener.

const answer = Object.fromEntries(
  new URLSearchParams(location.hash.length > 1 ? location.hash.slice(1) : location.search),
)
const message = document.getElementById('message')

// The code is good for one use, but it need not stay in the address bar and the history.
history.replaceState(null, '', location.pathname)

const channel = new BroadcastChannel('sallyport-oauth2')
channel.onmessage = ({ data }) => {
  if (data.received === undefined || data.received !== answer.state) return
  clearTimeout(unheard)
  message.textContent = 'You are back. This window can be closed.'
  window.close()
}
const unheard = setTimeout(() => {
  message.textContent = 'No documentation page is waiting for this answer. Close this window and authorize again.'
}, 2_000)
channel.postMessage({ answer })
