// Package imap takes mail from an IMAP mailbox (RFC 3501, RFC 9051).
//
//	d, err := imap.New("imap.example.com",
//		driver.WithSecurity(driver.SecurityImplicit),
//		driver.WithLogin("ann@example.com", password),
//		driver.WithSpool(sp))
//	...
//	err = driver.Run(ctx, d, handler)
//
// A [Driver] is one folder of one account, INBOX unless [WithFolder] says
// otherwise; several folders are several drivers. It polls, and it waits for
// the server's word of new mail (IDLE); it cannot send, see [driver.Pair].
// [Driver.Folders] is for everything else a host does with folders.
//
// # Delivery
//
// Nothing changes on the server before a mail was handed over and that is
// recorded: mails are fetched with BODY.PEEK[], and removed when the batch is
// done. What removing means is an option:
//
//   - the default: STORE +FLAGS \Deleted and UID EXPUNGE of these mails alone.
//     A server without UIDPLUS cannot do that; the mails then stay, flagged and
//     remembered, unless [WithPlainExpunge] permits more.
//   - [WithMoveTo]: MOVE, or COPY and, once that is confirmed, the above.
//   - [WithMarkSeen] and [WithKeyword]: a flag; the mail stays and is
//     remembered for as long as the server lists it.
//   - [driver.WithLeaveOnServer]: nothing, whatever the others say; the folder
//     is opened read-only.
//
// A mail that the server agrees to remove and then keeps, as some do silently
// where the account may not delete, is reported and remembered, and not handed
// over again; with WithMoveTo it is an error, since each session would copy it.
//
// Gmail files what is expunged under All Mail, unless the account is set
// otherwise; there WithMoveTo("DeletedItems") is what deletes.
//
// A mail is known by UIDVALIDITY.UID. When a server gives all mails new ones,
// known mails are found again by size and header.
//
// # How it is made
//
// Connecting, TLS, login, FETCH, SEARCH and IDLE are done here, in the
// caller's goroutine, every wait with a deadline and every size with a limit.
// The commands that delete, move and mark mails, and NAMESPACE, are those of
// emersion/go-imap, which sees a connection that is logged in already and only
// replies that have been read whole and found right.
//
// RFCs: 3501 and 9051 (IMAP), 2177 (IDLE), 2342 (NAMESPACE), 2971 (ID), 3516
// (literal8), 3691 (UNSELECT), 4315 (UIDPLUS), 4731 (ESEARCH), 4959 (SASL-IR),
// 5161 (ENABLE), 5530 (response codes), 6154 (SPECIAL-USE), 6851 (MOVE), 6855
// (UTF8=ACCEPT), 7888 (LITERAL+ and LITERAL-).
package imap
