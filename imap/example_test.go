package imap_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/imap"
	"github.com/maildriver/maildriver/imap/imaptest"
	"github.com/maildriver/maildriver/spool"
)

// example makes a driver for a server in this process, with a spool that goes
// when the example ends.
func example(srv *imaptest.Server, opts ...driver.Option) (d *imap.Driver, done func()) {
	dir, err := os.MkdirTemp("", "spool")
	if err != nil {
		log.Fatal(err)
	}
	sp, err := spool.New(dir)
	if err != nil {
		log.Fatal(err)
	}
	d, err = imap.New(srv.Addr, append([]driver.Option{
		driver.WithSecurity(driver.SecurityExplicit),
		driver.WithRootCAs(srv.RootCAs()),
		driver.WithLogin(imaptest.User, imaptest.Password),
		driver.WithSpool(sp),
	}, opts...)...)
	if err != nil {
		log.Fatal(err)
	}
	return d, func() { _ = d.Close(); _ = sp.Close(); _ = os.RemoveAll(dir) }
}

// One session: a mail becomes an event and moves to another folder.
func Example() {
	srv := imaptest.NewServer(imaptest.WithStartTLS(), imaptest.WithFolders("Done"))
	defer srv.Close()
	srv.Add([]byte("From: Ann <ann@example.com>\r\nSubject: hello\r\n\r\nHow are you?\r\n"))
	d, done := example(srv, imap.WithMoveTo("Done"))
	defer done()

	res, err := d.Poll(context.Background(), driver.HandlerFunc(func(_ context.Context, ev *driver.Event) error {
		fmt.Println(ev.Subject, "from", ev.SenderAddress)
		return nil
	}))
	fmt.Println(res.Delivered, "delivered,", srv.Count("INBOX"), "left,", srv.Count("Done"), "in Done,", err)
	// Output:
	// hello from ann@example.com
	// 1 delivered, 0 left, 1 in Done, <nil>
}

// Mail is handed over as it arrives: Run polls, and in between waits for the
// server's word.
func ExampleDriver_Wait() {
	srv := imaptest.NewServer(imaptest.WithStartTLS())
	defer srv.Close()
	d, done := example(srv)
	defer done()

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	first := true
	err := driver.Run(ctx, d, driver.HandlerFunc(func(_ context.Context, ev *driver.Event) error {
		fmt.Println(ev.Subject)
		cancel()
		return nil
	}), driver.WithReport(func(driver.PollResult, error) {
		if first {
			first = false
			srv.Add([]byte("Subject: it rings\r\n\r\n")) // after the first poll
		}
	}))
	fmt.Println(err)
	// Output:
	// it rings
	// context canceled
}

// What a host does with folders besides polling.
func ExampleDriver_Folders() {
	srv := imaptest.NewServer(imaptest.WithStartTLS())
	defer srv.Close()
	d, done := example(srv)
	defer done()

	ctx := context.Background()
	f, err := d.Folders(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := f.Create(ctx, "Inbox/Entwürfe"); err != nil {
		log.Fatal(err)
	}
	list, err := f.List(ctx)
	for _, x := range list {
		fmt.Println(x.Path)
	}
	fmt.Println(err)
	// Unordered output:
	// INBOX
	// INBOX/Entwürfe
	// <nil>
}
