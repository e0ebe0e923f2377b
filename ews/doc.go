// Package ews takes mail from Exchange and sends it, over Exchange Web Services:
// Exchange 2007 to 2019, and Exchange Online for as long as it has them.
//
//	d, err := ews.New("https://mail.example.com",
//		driver.WithLogin(`EXAMPLE\ann`, password),
//		driver.WithSpool(sp))
//	...
//	err = driver.Run(ctx, d, handler)
//	receipt, err := d.Send(ctx, message)
//
// A [Driver] is one folder of one mailbox, the Inbox unless [WithFolder] says
// otherwise. It polls, it sends ([Driver.Send]), and it waits for the server's
// word of new mail by streaming notifications ([Driver.Wait]). [WithAutodiscover]
// finds the server by an e-mail address.
//
// # Delivery
//
// Nothing changes on the server before a mail was handed over and that is
// recorded. A mail is known by its item id, which is good until it is moved. What
// removing means is an option:
//
//   - [WithDelete]: deleted in one of three ways, [HardDelete] by default;
//   - [WithMoveTo]: moved to another folder;
//   - [WithMarkRead]: marked as read; the mail stays and is remembered for as
//     long as the server lists it;
//   - [driver.WithLeaveOnServer]: nothing, whatever the others say.
//
// Mails are streamed to disk out of the answer of GetItem, several in one
// request where they are small. One that the server cannot give, or gives
// damaged, is a [driver.UnreadableError] in the result, and the others go on.
//
// A folder is listed with FindItem, all of it in each session, or with
// [WithSyncState] by what has changed since the last. FindItem notices mails
// that others remove while it turns the pages by the total that the server tells,
// and begins anew; where many clients work in a large folder whose mails are left
// there, SyncFolderItems is the better choice.
//
// Sending hands over the message as it was composed, without its Bcc fields.
// Exchange takes a message for all its recipients or for none. It is sent at
// most once: without an answer the outcome is unknown.
//
// # Servers
//
// The level of the schema is lowered by itself to what a server takes, and what
// an older server does not have is refused before it is asked for, with
// [ErrVersion]. A server that is busy is left alone for as long as it wishes, all
// requests of the driver together. Errors are [ResponseError]s inside
// [driver.Error]s; what they mean is decided by the server's code, never by its
// text, which may be in any language.
//
// Login is by NTLM or Negotiate (parameter value Default), Basic, over TLS alone,
// or Bearer with [driver.WithTokenSource]. An account with the right to
// impersonate, or to open a shared mailbox, uses [WithImpersonation] or
// [WithMailbox].
//
// # Exchange Online
//
// Microsoft retires Exchange Web Services there: from 2026-10-01 they are
// refused for organisations that did not permit them with EWSEnabled and a list
// of applications, and on 2027-04-01 they end. The refusal is [ErrTenantBlocked].
// Servers on the premises are not concerned.
//
// # What is not verified
//
// No Exchange could be reached while this was written. Requests are held against
// the published schema, answers against recorded ones of Exchange 2007, 2010 and
// 2013; the rest rests on Microsoft's documentation: SyncFolderItems, streaming
// notifications, sending and throttling have never been seen on the wire.
package ews
