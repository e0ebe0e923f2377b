// Package netx is the connection under every protocol of this module: the way to
// the server through proxies, one budget for all of the set-up, a deadline on
// every wait, cancellation by context, bounded lines, a TLS upgrade that refuses
// injected bytes, errors that name the step and the peer, and a trace that shows
// neither logins nor content.
//
// RFCs: 2595, 3207 and 8314 (TLS in mail protocols), 9525 (names in
// certificates), 1928 and 1929 (SOCKS5), 9110 section 9.3.6 (CONNECT), 7617 and
// 7616 (Basic and Digest, for proxies).
package netx
