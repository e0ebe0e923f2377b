package ews_test

import (
	"context"
	"fmt"
	"os"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/ews"
	"github.com/maildriver/maildriver/ews/ewstest"
	"github.com/maildriver/maildriver/mime"
	"github.com/maildriver/maildriver/spool"
)

// A host takes a mail and answers it, with one driver. The server is the fake for
// tests.
func Example() {
	srv := ewstest.NewServer()
	defer srv.Close()
	srv.Add([]byte("From: Ann <ann@example.com>\r\nTo: desk@example.com\r\nSubject: Help\r\nMessage-ID: <1@example.com>\r\n\r\nIt does not work.\r\n"))

	root, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(root) }()
	sp, err := spool.New(root)
	if err != nil {
		panic(err)
	}
	d, err := ews.New(srv.URL,
		driver.WithLogin(ewstest.User, ewstest.Password),
		driver.WithFrom("Desk <desk@example.com>"),
		driver.WithSpool(sp),
		driver.WithRootCAs(srv.RootCAs()),
		ews.WithDelete(ews.MoveToDeletedItems))
	if err != nil {
		panic(err)
	}
	defer func() { _ = d.Close() }()

	ctx := context.Background()
	res, err := d.Poll(ctx, driver.HandlerFunc(func(ctx context.Context, ev *driver.Event) error {
		reply := ev.Reply()
		reply.Text = "Turn it off and on again.\n\n" + mime.QuoteText(ev.Text)
		m, err := d.Compose(reply)
		if err != nil {
			return driver.Reject(err)
		}
		receipt, err := d.Send(ctx, m)
		fmt.Println(ev.Subject, "answered:", receipt.Delivery)
		return err
	}))
	fmt.Println(res.Delivered, "taken,", srv.Count("Inbox"), "left,", srv.Count("DeletedItems"), "deleted,", len(srv.Sent()), "sent", err)
	// Output:
	// Help answered: accepted
	// 1 taken, 0 left, 1 deleted, 1 sent <nil>
}
