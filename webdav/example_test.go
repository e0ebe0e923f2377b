package webdav_test

import (
	"context"
	"fmt"
	"os"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/mime"
	"github.com/maildriver/maildriver/spool"
	"github.com/maildriver/maildriver/webdav"
	"github.com/maildriver/maildriver/webdav/webdavtest"
)

// The Inbox of an Exchange 2007 with its login form, emptied into Deleted
// Items.
func Example() {
	srv := webdavtest.NewServer(webdavtest.WithVersion(webdavtest.Exchange2007), webdavtest.WithForms(), webdavtest.WithTLS())
	defer srv.Close()
	srv.Add([]byte("From: bob@example.com\r\nSubject: hello\r\n\r\nhi\r\n"))

	dir, err := os.MkdirTemp("", "spool")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	sp, err := spool.New(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = sp.Close() }()
	d, err := webdav.New(srv.Mailbox(),
		driver.WithLogin(webdavtest.User, webdavtest.Password), driver.WithMechanisms("FORM"),
		driver.WithRootCAs(srv.RootCAs()), driver.WithSpool(sp), webdav.WithTrash())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = d.Close() }()
	_, err = d.Poll(context.Background(), driver.HandlerFunc(func(_ context.Context, ev *driver.Event) error {
		fmt.Println(ev.Subject)
		return ev.DeleteTempFiles()
	}))
	fmt.Println(err, srv.Left(), srv.Count("Deleted Items"))
	// Output:
	// hello
	// <nil> 0 1
}

// A message goes out with its blind copies, who stay in the envelope.
func ExampleDriver_Send() {
	srv := webdavtest.NewServer()
	defer srv.Close()
	d, err := webdav.New(srv.Mailbox(), driver.WithLogin(webdavtest.User, webdavtest.Password), driver.WithInsecureAuth())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = d.Close() }()
	m, err := driver.NewMessage(&mime.Draft{
		From: mime.Address{Addr: webdavtest.Address}, To: []mime.Address{{Addr: "bob@example.com"}}, Bcc: []mime.Address{{Addr: "carol@example.com"}},
		Subject: "hello", Text: "hi",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	receipt, err := d.Send(context.Background(), m)
	fmt.Println(receipt.Delivery, err, srv.Sent()[0].To)
	// Output:
	// accepted <nil> [bob@example.com carol@example.com]
}
