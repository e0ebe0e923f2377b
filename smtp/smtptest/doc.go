// Package smtptest is an SMTP server for tests, as net/http/httptest is one for
// HTTP. It listens on a loopback port, keeps what it took, and misbehaves on
// demand.
//
//	srv := smtptest.NewServer(smtptest.WithSTARTTLS(), smtptest.WithLogin("alice", "secret"))
//	defer srv.Close()
//	d, err := smtp.New(srv.Addr(), driver.WithRootCAs(srv.RootCAs()), ...)
//
// # The ledger
//
// [Server.Messages] is what the server took responsibility for. A message
// enters the ledger when the server has the final dot and decides to accept,
// before the reply is written, as in a real server; [Message.Promised] tells
// that the reply 250 was written whole. So a sender must report a message that
// is promised as accepted, one that is not in the ledger as not accepted, and
// may report "unknown" only for a message whose reply got lost.
//
// # Strictness
//
// The server takes nothing on trust: a bare CR or LF, an over-long line, 8-bit
// octets that were not declared, a parameter of an extension that was not
// offered, a command sent before the reply to the last one without PIPELINING.
// It notes each in [Server.Violations]; tests should find that empty.
//
// # Faults
//
// A [Fault] replaces what the server does at a stage: another reply, garbage,
// silence, a drip, a dropped or reset connection. [Server.CutRead] and
// [Server.CutWrite] end connections at a byte position, so that a test can cut
// a conversation everywhere in a loop.
//
// A Server may be used by any number of goroutines.
package smtptest
