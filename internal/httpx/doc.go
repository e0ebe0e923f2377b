// Package httpx is the one HTTP/1.1 client below the drivers that speak HTTP
// (ews, webdav). A [Client] belongs to one origin and one account. It adds to
// net/http what these drivers need:
//
//   - connections made by internal/netx, with its proxies, TLS rules and
//     certificate errors;
//   - authentication: Basic, Digest (RFC 7616), NTLM, Negotiate (RFC 4559),
//     Bearer (RFC 6750), where the schemes that authenticate a connection stay
//     on theirs;
//   - a limit on silence in place of a limit on the whole, so that a large body
//     may take its time and a mute peer may not;
//   - no redirects, no cookies unless asked for, no compression, no connection
//     shared between accounts, and credentials for the one origin alone.
//
// Errors are [*driver.Error]; where an answer of the server decided, a
// [*StatusError] is inside.
package httpx
