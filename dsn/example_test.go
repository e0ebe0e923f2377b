package dsn_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/maildriver/maildriver/dsn"
	"github.com/maildriver/maildriver/mime"
)

// keep is a sink that holds the delivery status.
type keep struct{ status bytes.Buffer }

func (k *keep) Begin(p *mime.Part) (io.Writer, error) {
	if p.Type == "message/delivery-status" {
		return &k.status, nil
	}
	return nil, nil
}

func (k *keep) End(*mime.Part) error { return nil }

func Example() {
	bounce := `Subject: Undelivered Mail
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b

Sorry.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mail.example.net

Final-Recipient: rfc822; ann@example.com
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 no such user

--b--
`
	var k keep
	root, err := mime.Parse(strings.NewReader(bounce), &k)
	if err != nil {
		fmt.Println(err)
		return
	}
	if dsn.IsReport(root) {
		r := dsn.Parse(k.status.Bytes()).Primary()
		fmt.Println(r.FinalRecipient.Addr(), r.Action, r.Status, r.Diagnostic.Text)
	}
	// Output: ann@example.com failed 5.1.1 550 no such user
}

func ExampleDetect() {
	bounce := `Return-Path: <>
From: MAILER-DAEMON@mx.example
To: sam@sender.example
Subject: failure notice

Hi. This is the mail program at mx.example.
I'm afraid I wasn't able to deliver your message to the following addresses.

<ann@example.com>:
Remote host said: 552 mailbox full

--- Below this line is a copy of the message.

Received: from desk by mx.example; Fri, 2 Jan 2026 03:04:05 +0000
From: sam@sender.example
Message-ID: <minutes@sender.example>

Hello
`
	r, err := dsn.Detect(strings.NewReader(bounce))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, o := range r.Outcomes {
		fmt.Println(r.Kind, o.Recipient, o.Reason, o.Hard, o.Status, o.Status.DetailText())
	}
	fmt.Println(r.Confidence, r.Matches("minutes@sender.example", ""))
	// Output:
	// bounce ann@example.com mailbox-full false 5.2.2 the mailbox is full
	// high true
}
