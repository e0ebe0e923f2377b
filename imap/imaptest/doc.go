// Package imaptest offers IMAP servers for tests, in the way of
// net/http/httptest: they listen on a loopback port and are told how to
// behave.
//
// [NewServer] is the normal case: a server that keeps its mail in memory, with
// IDLE, and with UIDPLUS, MOVE, ESEARCH and NAMESPACE, each of which can be
// taken away.
//
//	srv := imaptest.NewServer(imaptest.WithStartTLS())
//	defer srv.Close()
//	srv.Add([]byte("Subject: hello\r\n\r\nworld\r\n"))
//
//	d, err := imap.New(srv.Addr,
//		driver.WithSecurity(driver.SecurityExplicit),
//		driver.WithRootCAs(srv.RootCAs()),
//		driver.WithLogin(imaptest.User, imaptest.Password),
//		driver.WithSpool(sp))
//
// [NewScripted] is for everything else: a server that says, byte for byte, what
// the test wants it to say to which command, and then goes silent, drips, or
// drops the connection. It knows nothing of IMAP but tags and literals.
package imaptest
