package smtp_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/mime"
	"github.com/maildriver/maildriver/smtp"
	"github.com/maildriver/maildriver/smtp/smtptest"
)

// A message goes to three recipients, one of whom does not exist.
func ExampleDriver_Send() {
	srv := smtptest.NewServer(smtptest.WithSTARTTLS(), smtptest.WithLogin("alice", "secret"))
	defer srv.Close()
	srv.AddFault(smtptest.Fault{At: smtptest.RCPT, Nth: 2, Do: smtptest.Reply("550 5.1.1 no such user")})

	d, err := smtp.New(srv.Addr(),
		driver.WithSecurity(driver.SecurityExplicit),
		driver.WithRootCAs(srv.RootCAs()),
		driver.WithLogin("alice", "secret"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close()

	text := "From: alice@example.com\nSubject: Hello\n\nGood morning.\n"
	receipt, err := d.Send(context.Background(), &driver.Message{
		From: "alice@example.com",
		To:   []driver.Recipient{{Address: "bob@example.com"}, {Address: "nobody@example.com"}, {Address: "carol@example.com"}},
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil },
	})
	fmt.Println(receipt.Delivery, driver.KindOf(err))
	for _, r := range receipt.Recipients {
		fmt.Println(r.Address, r.Delivery, r.Code, r.Enhanced)
	}
	if re, ok := errors.AsType[*smtp.ReplyError](err); ok {
		fmt.Println(re.Stage, re.Text())
	}
	fmt.Printf("%q\n", srv.Messages()[0].Data)
	// Output:
	// partly permanent
	// bob@example.com accepted 250 2.0.0
	// nobody@example.com rejected 550 5.1.1
	// carol@example.com accepted 250 2.0.0
	// rcpt no such user
	// "From: alice@example.com\r\nSubject: Hello\r\n\r\nGood morning.\r\n"
}

// Settings for outbound mail stand with the driver, here as they come from a
// profile; the draft says what only it knows.
func ExampleDriver_Compose() {
	addr, opts, err := smtp.FromParameters(map[string]string{
		"SMTP Server": "mail.example.com", "From Address": "Desk <desk@example.com>",
		"Charset": "iso-8859-1", "Create Plain Text From HTML": "TRUE",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	d, err := smtp.New(addr, opts...)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = d.Close() }()
	m, err := d.Compose(&mime.Draft{To: []mime.Address{{Addr: "ann@example.org"}}, HTML: "<p>Grüße</p>"})
	if err != nil {
		fmt.Println(err)
		return
	}
	r, err := m.Open()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = r.Close() }()
	for s := bufio.NewScanner(r); s.Scan(); {
		if strings.HasPrefix(s.Text(), "From:") || strings.Contains(s.Text(), "charset=") {
			fmt.Println(s.Text())
		}
	}
	// Output:
	// From: Desk <desk@example.com>
	// Content-Type: text/plain; charset=iso-8859-1
	// Content-Type: text/html; charset=iso-8859-1
}
