package driver_test

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/maildriver/maildriver/driver"
)

// A password comes from where the host keeps it, when it is needed, and prints
// nowhere.
func ExampleSecretFunc() {
	vault := func(context.Context) (string, error) { return "open sesame", nil }
	login := driver.WithLogin("ann", driver.SecretFunc(vault))
	proxy := driver.WithProxyLogin("ann", driver.SecretFromEnv("PROXY_PASSWORD"))
	fmt.Println(login.Name(), proxy.Name(), driver.NewSecret("open sesame"))
	// Output: driver.Login driver.ProxyLogin [secret]
}

// Users of the host choose the servers, and must not reach what is inside.
func ExamplePublicAddressesOnly() {
	policy := driver.WithDialPolicy(driver.PublicAddressesOnly)
	err := driver.PublicAddressesOnly(context.Background(), driver.DialTarget{
		Host: "mail.example.com", Addr: netip.MustParseAddrPort("169.254.169.254:25"),
	})
	fmt.Println(policy.Name())
	fmt.Println(err)
	// Output:
	// driver.DialPolicy
	// 169.254.169.254: not an address of the public internet
}

// A server whose certificate is signed by itself is known by its key.
func ExampleParsePin() {
	pin, err := driver.ParsePin("sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")
	fmt.Println(pin, err)
	options := []driver.Option{driver.WithInsecureSkipVerify(), driver.WithPinnedKeys(pin)}
	fmt.Println(len(options))
	// Output:
	// sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU= <nil>
	// 2
}
