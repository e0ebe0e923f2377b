package driver_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/pop3"
	"github.com/maildriver/maildriver/pop3/pop3test"
	"github.com/maildriver/maildriver/spool"
)

// A mailbox that takes OAuth2 access tokens. The source would ask an
// authorisation server; contrib/oauth2 has sources that do.
func ExampleWithTokenSource() {
	srv := pop3test.NewServer(pop3test.WithTLS(), pop3test.WithUser("ann", "-"), pop3test.WithAuth("XOAUTH2"), pop3test.WithToken("ann", "fresh"))
	defer srv.Close()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	sp, err := spool.New(dir)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = sp.Close() }()

	asked := 0
	source := func(context.Context) (driver.Token, error) {
		asked++
		value := "taken-back" // by somebody, before its time
		if asked > 1 {
			value = "fresh"
		}
		return driver.Token{Value: driver.NewSecret(value), Expiry: time.Now().Add(time.Hour)}, nil
	}
	d, err := pop3.New(srv.Addr,
		driver.WithSecurity(driver.SecurityImplicit), driver.WithRootCAs(srv.RootCAs()), driver.WithSpool(sp),
		driver.WithLogin("ann", ""), driver.WithTokenSource(source))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	for range 2 {
		_, err = d.Poll(context.Background(), driver.HandlerFunc(func(context.Context, *driver.Event) error { return nil }))
		fmt.Println(asked, err)
	}
	// Output:
	// 2 <nil>
	// 2 <nil>
}
