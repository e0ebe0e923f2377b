// Package netx is the connection under every line protocol of this module: one
// set-up budget, a deadline on every wait, cancellation by context, bounded
// lines, a TLS upgrade that refuses injected bytes, and errors that name the
// step and the peer.
//
// RFCs: 2595, 3207 and 8314 (TLS in mail protocols), 9525 (names in
// certificates).
package netx
