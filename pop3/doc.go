// Package pop3 polls mailboxes over POP3. [New] makes a driver; its Poll runs
// one session: log in, list, fetch what is new, hand it over, delete, QUIT.
//
// RFCs: 1939 (POP3), 2449 (CAPA and response codes), 2595 and 8314 (TLS), 3206
// (SYS and AUTH codes), 5034 (SASL).
//
// # Delivery
//
// The rules of package driver hold: a mail is handed over at least once, in
// the server's order, with a stable id, and is removed only after its handler
// returned nil. POP3 makes this easy, because a server removes nothing before
// it answered QUIT: a session that breaks anywhere changes nothing, and a QUIT
// whose reply was lost counts as one that failed.
//
// # Ids
//
// The id of a mail is its UIDL. Where that is not good enough the id is made
// of the mail's content, which is a weaker guarantee:
//
//   - A UIDL that is listed twice (RFC 1939 section 7 permits it for equal
//     mails) names neither of the two. They get ids from their header and size,
//     or, if these are equal too, from the whole content.
//   - A server without UIDL gets ids from header and size for all its mails,
//     and without TOP from their whole content: each mail is downloaded for
//     the listing then, in every session.
//
// Mails that are equal byte for byte are numbered. If one of such twins is
// removed by somebody else, the other one may come once more. The same holds
// for every mail of a server that changes between having UIDL and not.
//
// # Login
//
// [driver.WithMechanisms] takes SASL names and the protocol's own "USER" and
// "APOP". Without it the first of these that the server offers is used: with
// [driver.WithTokenSource] OAUTHBEARER, XOAUTH2; with [driver.WithNegotiator]
// GSSAPI; else SCRAM with SHA-256 or SHA-1, bound to the TLS connection if the
// server can, and then in TLS PLAIN, LOGIN, USER, DIGEST-MD5, CRAM-MD5, APOP, in
// clear DIGEST-MD5, CRAM-MD5, APOP, and with [driver.WithInsecureAuth] also
// PLAIN, LOGIN and USER. NTLM and EXTERNAL are used only if named. There is one
// attempt a session, and a second one only for an access token that was
// refused and could be replaced. STLS, once asked for, is required.
//
// # Errors
//
// Every error is a [*driver.Error] whose Op is the command in lower case
// ("greeting", "capa", "stls", "pass", "retr", "quit"...), with a
// [*ReplyError] inside if the server answered -ERR. A maildrop that another
// session has locked, [IN-USE], is temporary, a refused login is of kind auth.
// What breaks the rules of the protocol, a listing with a bad line too, ends
// the session and is of kind protocol.
package pop3
