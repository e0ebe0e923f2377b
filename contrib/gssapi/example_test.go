package gssapi_test

import (
	"fmt"

	"github.com/maildriver/maildriver/contrib/gssapi"
	"github.com/maildriver/maildriver/driver"
)

// One client serves all drivers of one identity; tickets are got when the first
// of them logs in.
func Example() {
	client, err := gssapi.New(
		gssapi.Keytab("mailer@EXAMPLE.COM", "/etc/mailer.keytab"),
		gssapi.WithConfig("[realms]\nEXAMPLE.COM = {\n kdc = kdc.example.com\n}\n"),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	// For imap.New, pop3.New, smtp.New and so on.
	opts := []driver.Option{driver.WithLogin("sales", ""), driver.WithNegotiator(client)}
	fmt.Println(len(opts), "options")
	// Output: 2 options
}

// What is wrong with a configuration is said at once, before anything is sent.
func ExampleNew() {
	_, err := gssapi.New(gssapi.Password("alice", driver.SecretFromEnv("PASSWORD")), gssapi.WithConfig("[libdefaults]\n"))
	fmt.Println(driver.KindOf(err), err)
	// Output: config kerberos: Kerberos config "alice": it names no realm, and the configuration no default_realm
}
