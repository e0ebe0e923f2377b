package main

import (
	"encoding/base64"
	"io"
	"strings"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/mime"
)

var desk = []mime.Address{{Name: "Help Desk", Addr: "desk@example.com"}}

// pixel is a PNG image of one pixel.
const pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

func image() (io.ReadCloser, error) {
	return io.NopCloser(base64.NewDecoder(base64.StdEncoding, strings.NewReader(pixel))), nil
}

// inbox is the mail of the help desk's morning.
func inbox() []*driver.Message {
	drafts := []*mime.Draft{
		{
			From: mime.Address{Name: "Ann Customer", Addr: "ann@customer.example"}, To: desk,
			Subject: "Printer on fire", Text: "It is the one on the second floor.\nPlease hurry.\n",
		},
		{
			From: mime.Address{Name: "José Núñez", Addr: "jose@kunde.example"}, To: desk,
			Subject: "Invoice 2026-11: Rückfrage", Text: "Please see the attached invoice.\n\nJosé\n",
			Attachments: []mime.Attachment{
				{Name: "Rechnung März – Übersicht.pdf", Type: "application/pdf", Open: opened("%PDF-1.4 (not really)\n")},
				{Name: "請求書.csv", Type: "text/csv", Open: opened("item;price\nscrew;0,05\n")},
			},
		},
		{
			From: mime.Address{Addr: "news@shop.example"}, To: desk, Subject: "Our new catalogue",
			Text: "Look at the picture.\n", HTML: "<p>Look: <img src=\"cid:pixel@shop.example\"></p>\n",
			Attachments: []mime.Attachment{{Name: "pixel.png", Type: "image/png", ContentID: "pixel@shop.example", Inline: true, Open: image}},
		},
		{
			From: mime.Address{Addr: "spam@junk.example"}, To: desk, Subject: "Junk", Text: "Buy now.\n",
		},
	}
	var list []*driver.Message
	for _, d := range drafts {
		m, err := driver.NewMessage(d)
		if err != nil {
			panic(err) // the drafts above are fixed
		}
		list = append(list, m)
	}
	for _, raw := range []string{forwarded, bounce, robot1, robot2} {
		m, err := driver.ReadyMessage(opened(strings.ReplaceAll(raw, "\n", "\r\n")))
		if err != nil {
			panic(err)
		}
		if raw == bounce {
			m.From = "" // bounces have the null return path
		}
		list = append(list, m)
	}
	return list
}

const forwarded = `From: Bob <bob@customer.example>
To: desk@example.com
Subject: Fwd: what my colleague wrote
Message-ID: <fwd-1@customer.example>
Date: Sun, 22 Nov 2026 09:12:00 +0100
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="fwd"

--fwd
Content-Type: text/plain; charset=utf-8

See the mail below.
--fwd
Content-Type: message/rfc822

From: Carol <carol@customer.example>
To: bob@customer.example
Subject: The lift is stuck again
Date: Sat, 21 Nov 2026 17:40:00 +0100

Third time this week.
--fwd--
`

const bounce = `From: Mail Delivery System <MAILER-DAEMON@mx.example.net>
To: desk@example.com
Subject: Undelivered Mail Returned to Sender
Message-ID: <dsn-1@mx.example.net>
Date: Sun, 22 Nov 2026 09:30:00 +0100
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="dsn"

--dsn
Content-Type: text/plain

Your message could not be delivered.
--dsn
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net
Original-Envelope-Id: ticket-4711

Final-Recipient: rfc822; gone@example.net
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 no such user
--dsn--
`

// Two programs that answer each other's answers: the second mail of the same
// sender within the interval is kept out.
const robot1 = `From: Robot <robot@loop.example>
To: desk@example.com
Subject: Out of office
Message-ID: <loop-1@loop.example>
Date: Sun, 22 Nov 2026 09:31:00 +0100

I am away and answer every mail by saying so.
`

const robot2 = `From: Robot <robot@loop.example>
To: desk@example.com
Subject: Re: Out of office
Message-ID: <loop-2@loop.example>
Date: Sun, 22 Nov 2026 09:31:02 +0100

I am away and answer every mail by saying so.
`
