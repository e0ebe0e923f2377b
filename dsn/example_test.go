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
