package oauth2_test

import (
	"context"
	"fmt"

	"github.com/maildriver/maildriver/contrib/oauth2"
	"github.com/maildriver/maildriver/contrib/oauth2/oauth2test"
	"github.com/maildriver/maildriver/driver"
)

// A service that reads a mailbox at Microsoft 365 without a user.
func Example() {
	c, err := oauth2.Microsoft365.ForService("contoso.example", "11111111-2222-3333-4444-555555555555",
		driver.SecretFromEnv("MAIL_CLIENT_SECRET"), oauth2.IMAP)
	if err != nil {
		fmt.Println(err)
		return
	}
	source, err := c.ClientCredentials()
	if err != nil {
		fmt.Println(err)
		return
	}
	// For imap.New, with the mailbox as user and without a password.
	opts := []driver.Option{driver.WithLogin("sales@contoso.example", ""), driver.WithTokenSource(source)}
	fmt.Println(len(opts), "options for", c.TokenURL)
	// Output: 2 options for https://login.microsoftonline.com/contoso.example/oauth2/v2.0/token
}

// A refresh token that the server replaces at each use.
func ExampleConfig_RefreshToken() {
	server := oauth2test.New()
	server.Rotate = true
	c := oauth2.Config{TokenURL: oauth2test.TokenURL, ClientID: server.ClientID, Secret: driver.NewSecret(server.ClientSecret), Transport: server.Transport()}
	source, err := c.RefreshToken(driver.NewSecret("refresh-secret-0"), func(_ context.Context, refresh driver.Secret) error {
		fmt.Println("store", refresh, len(refresh.Reveal()), "bytes")
		return nil
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	token, err := source(context.Background())
	fmt.Println(token.Value, token.Expiry.IsZero(), err)
	// Output:
	// store [secret] 16 bytes
	// [secret] false <nil>
}
