// Package webdav takes mail from, and sends it through, Exchange 2000, 2003
// and 2007 over WebDAV, and takes mail from plain WebDAV collections of .eml
// files (RFC 4918).
//
//	d, err := webdav.New("https://mail.example.com/exchange/ann",
//		driver.WithLogin(`EXAMPLE\ann`, password),
//		driver.WithSpool(sp))
//	...
//	err = driver.Run(ctx, d, handler)
//
// No live Exchange of these versions was at hand: the dialect follows
// published documents and is held against the fake of package webdavtest. Later
// versions have no WebDAV ([ErrNotAvailable]): use package ews.
//
// A [Driver] is one folder of one mailbox, the Inbox unless [WithFolder] says
// otherwise. With [WithPlain] it is one collection of any WebDAV server, and
// cannot send.
//
// # Login
//
// [driver.WithMechanisms] takes "BASIC", "DIGEST", "NTLM", "NEGOTIATE",
// "BEARER", "DEFAULT" (NTLM or Negotiate) and "FORM", the login page of Outlook
// Web Access. Without it Digest or Basic is used, as the server wants, and never
// NTLM, which can be relayed. Passwords leave in clear
// (Basic, Form) only inside TLS, unless [driver.WithInsecureAuth] permits it. A
// form is filled in once for each login and never again after a refusal, so
// that accounts are not locked.
//
// # Delivery
//
// Nothing changes on the server before a mail was handed over and that is
// recorded. Then it is deleted, or, as configured, moved ([WithMoveTo],
// [WithTrash]), marked as read ([WithMarkRead]) or left
// ([driver.WithLeaveOnServer]). An Exchange mail is known by its repl-uid, one
// of a plain collection by name and entity tag: a file that is written anew is
// another mail, and the new one is never removed in place of the old one where
// the server honours If-Match.
//
// Send gives the whole envelope to the server in one PUT, which it takes or
// refuses as a whole; Bcc fields are removed and their addresses stay in the
// envelope. See [WithSaveSent] for a copy in Sent Items.
//
// RFCs: 4918 (WebDAV), 5323 (SEARCH), 9110 and 9112 (HTTP), 7617 (Basic), 7616
// (Digest), 4559 (Negotiate), 6750 (Bearer), 6265 (cookies).
package webdav
