// Package oauth2 gets the OAuth2 access tokens with which mailboxes at
// Microsoft 365, Google and others are opened. It makes [driver.TokenSource]
// functions for [driver.WithTokenSource], on top of golang.org/x/oauth2.
//
// # Which flow
//
//   - [Config.ClientCredentials]: a service without a user, with a secret or a
//     certificate (RFC 6749 section 4.4). Microsoft 365.
//   - [Config.ServiceAccount]: a service without a user, with a signed request
//     (RFC 7523 section 2.1). Google.
//   - [Config.Device]: once, with a user at any browser (RFC 8628). It gives a
//     refresh token, for
//   - [Config.RefreshToken]: from then on, without the user (RFC 6749 section
//     6). Servers may replace the refresh token at any time; the new one is
//     given to the host, to be stored, before it is relied on.
//
// Addresses and scopes of the large providers are data: [Microsoft365],
// [Google].
//
// # What a token server can't do
//
// Requests go to https addresses only (http to this machine, for tests). They
// follow no redirect, end with the context and after [Config.Timeout], and take
// no answer above [MaxAnswer]. Errors are a [*driver.Error] around an [*Error];
// they show what the server said, but no answer as a whole and no secret, not
// even if the server repeats one.
//
// The sources keep no access tokens: [driver.WithTokenSource] puts a
// [driver.TokenStore] around them, which does. They start no goroutines.
package oauth2
