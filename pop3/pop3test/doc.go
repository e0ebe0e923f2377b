// Package pop3test offers a POP3 server for tests, in the way of
// net/http/httptest: it listens on a loopback port, keeps its mail in memory,
// and misbehaves where it is told to.
//
//	srv := pop3test.NewServer(pop3test.WithSTLS(), pop3test.WithPipelining())
//	defer srv.Close()
//	srv.AddText("Subject: hello\n\nworld\n")
//
//	d, err := pop3.New(srv.Addr,
//		driver.WithSecurity(driver.SecurityExplicit),
//		driver.WithRootCAs(srv.RootCAs()),
//		driver.WithLogin(pop3test.User, pop3test.Password),
//		driver.WithSpool(sp))
//
// # What it does as a real server does
//
// It speaks RFC 1939 with UIDL, TOP, APOP, CAPA (RFC 2449), STLS (RFC 2595),
// AUTH (RFC 5034) and response codes. One session locks the maildrop of its
// user; a second one waits a quarter of a second for it and is told
// -ERR [IN-USE]. A DELE takes effect at QUIT and not
// before; a session that ends in any other way deletes nothing.
//
// # What it remembers
//
// [Server.Ledger] tells of every mail how often it was listed, retrieved,
// marked as deleted, and whether a QUIT removed it for good: what a client was
// entitled to believe. [Server.Violations] lists what clients did against the
// protocol, such as pipelining that was not offered. [Server.Transcripts]
// has the bytes of both directions.
//
// # How to make it fail
//
// [Server.Script] takes rules: at which step, for which message, how often,
// and what to do: another reply, a lost connection before or after the command
// took effect, a reply cut after some bytes, silence, a drip.
// [Server.CutAfter] ends every connection after so many bytes, so that a loop
// can cut a conversation at each of them. A [Mail] may lie about its size and
// share its UIDL with others.
package pop3test
