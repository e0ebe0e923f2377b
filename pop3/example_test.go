package pop3_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/pop3"
	"github.com/maildriver/maildriver/pop3/pop3test"
	"github.com/maildriver/maildriver/spool"
)

// One session against a server in this process: STLS, login, and a mail that
// becomes an event and leaves the server.
func Example() {
	srv := pop3test.NewServer(pop3test.WithSTLS(), pop3test.WithPipelining())
	defer srv.Close()
	srv.AddText("From: Ann <ann@example.com>\nSubject: hello\n\nHow are you?\n")

	dir, err := os.MkdirTemp("", "spool")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	sp, err := spool.New(dir)
	if err != nil {
		log.Fatal(err)
	}
	d, err := pop3.New(srv.Addr,
		driver.WithSecurity(driver.SecurityExplicit),
		driver.WithRootCAs(srv.RootCAs()),
		driver.WithLogin(pop3test.User, pop3test.Password),
		driver.WithSpool(sp))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = d.Close() }()

	res, err := d.Poll(context.Background(), driver.HandlerFunc(func(_ context.Context, ev *driver.Event) error {
		fmt.Println(ev.Subject, "from", ev.SenderAddress)
		return nil
	}))
	fmt.Println(res.Delivered, "delivered,", len(srv.Messages()), "left,", err)
	// Output:
	// hello from ann@example.com
	// 1 delivered, 0 left, <nil>
}
