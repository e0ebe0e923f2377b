// Package driver holds what all mail drivers have in common: the words that a
// host application sees ([Driver], [Handler], [Event], [Message]), options in
// layers, classified errors, and the one inbound pipeline that every protocol
// shares ([Inbound] over a [Mailbox]).
//
// A host makes a driver with the constructor of a protocol package (pop3.New,
// smtp.New), joins two with [Pair], or opens one by its documented name and
// parameters with a [Registry]. It polls with [Run], or session by session with
// Poll, and sends with Send.
//
// # Delivery
//
// Every mail is handed over at least once, in the order of the server, with an
// [Event.ID] that never changes; never twice without [Event.Redelivered]; and
// at most one mail a mailbox is repeated for each time the process is killed.
// Until the handler returned nil, a mail is on the server, or durable in
// exactly one directory of the spool, or both; after that its files are the
// host's. What a handler's result means is said at [Handler].
//
// # Connections
//
// Options of this package say how every driver connects: [WithSecurity] and the
// trust in certificates ([WithRootCAs], [WithPinnedKeys],
// [LoadClientCertificate]), [WithProxy], where connections may go
// ([WithDialPolicy]), and where passwords come from ([Secret]). TLS that was
// asked for is never done without. [WithLogDebug] writes what is said on a
// connection to a file, without what logs in and without mail.
//
// # Spool
//
// Attachments become files in the incoming directory; the raw mail ends in
// processed (or is deleted), failed or loopback. Package spool has the
// directories, the file names and the delivery records (the .ids files) on
// which the promise rests.
//
// # Standards
//
// RFC 5322 (messages), RFC 2045 to 2049 (MIME), RFC 3464 (delivery status
// notifications, formerly RFC 1894), RFC 3834 (automatic responses), RFC 3463
// (enhanced status codes).
package driver
