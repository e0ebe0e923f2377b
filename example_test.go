package maildriver_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/pop3"
	"github.com/maildriver/maildriver/pop3/pop3test"
	"github.com/maildriver/maildriver/smtp"
	"github.com/maildriver/maildriver/smtp/smtptest"
	"github.com/maildriver/maildriver/spool"
)

// A host polls one mailbox and answers each mail.
func Example() {
	inbox := pop3test.NewServer(pop3test.WithTLS())
	defer inbox.Close()
	relay := smtptest.NewServer(smtptest.WithSTARTTLS(), smtptest.WithLogin("desk", "secret"))
	defer relay.Close()
	inbox.AddText("From: Ann <ann@example.com>\nTo: desk@example.com\nSubject: Printer on fire\nMessage-ID: <1@example.com>\n\nPlease hurry.\n")
	dir, err := os.MkdirTemp("", "spool")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()

	sp, err := spool.New(dir)
	if err != nil {
		log.Fatal(err)
	}
	in, err := pop3.New(inbox.Addr, driver.WithSecurity(driver.SecurityImplicit), driver.WithRootCAs(inbox.RootCAs()),
		driver.WithLogin(pop3test.User, pop3test.Password), driver.WithSpool(sp), driver.WithFrom("Desk <desk@example.com>"))
	if err != nil {
		log.Fatal(err)
	}
	out, err := smtp.New(relay.Addr(), driver.WithSecurity(driver.SecurityExplicit), driver.WithRootCAs(relay.RootCAs()),
		driver.WithLogin("desk", "secret"))
	if err != nil {
		log.Fatal(err)
	}
	d, err := driver.Pair(in, out)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = d.Close() }()

	ctx, stop := context.WithCancel(context.Background())
	err = driver.Run(ctx, d, driver.HandlerFunc(func(ctx context.Context, ev *driver.Event) error {
		fmt.Println(ev.SenderName, "writes:", ev.Subject)
		defer stop() // a real host goes on for ever
		if ev.MayAutoReply() != nil {
			return nil
		}
		reply := ev.Reply()
		reply.Text, reply.AutoSubmitted = "We have your mail.\n", "auto-replied"
		m, err := driver.NewMessage(reply)
		if err != nil {
			return err
		}
		receipt, err := d.Send(ctx, m)
		fmt.Println("reply", receipt.Delivery)
		if receipt.Delivery == driver.DeliveryDeferred {
			return err // the mail comes again, and the reply is tried again
		}
		return nil // accepted; or refused, or unknown, which repeating would not mend
	}))
	fmt.Println("ended:", errors.Is(err, context.Canceled), "left on the server:", len(inbox.Messages()))
	// Output:
	// Ann writes: Printer on fire
	// reply accepted
	// ended: true left on the server: 0
}
