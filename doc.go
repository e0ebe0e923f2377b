// Package maildriver is the root of an SDK of mail drivers and parsers that
// host applications embed: help desks, CRMs and workflow engines that watch
// mailboxes, turn each mail into an event with its parts as files, and send
// replies. It holds documentation and runnable examples only; hosts import the
// packages below it.
//
//   - driver: the words a host sees, options, errors, the inbound pipeline
//   - pop3, smtp: the protocols
//   - mime, dsn: parsing and composing messages, delivery reports
//   - spool: directories, file names and delivery records on disk
//   - pop3/pop3test, smtp/smtptest: servers for the tests of hosts
//
// What is promised about delivery stands in package driver.
package maildriver

//go:generate go run ./internal/paramdoc
