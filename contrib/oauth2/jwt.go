package oauth2

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/maildriver/maildriver/driver"
)

const (
	grantJWT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	// assertionLife is how long a signed statement holds: long enough for
	// clocks that differ, too short to be worth stealing.
	assertionLife = 5 * time.Minute
	// maxKeyFile is more than any service account's file needs, in bytes.
	maxKeyFile = 64 << 10
)

// Certificate proves the client clientID by a certificate that is registered
// with the server, as Microsoft Entra takes it (RFC 7523 section 2.2, signed
// with PS256, the certificate named by its SHA-256). Its key must be RSA. It is
// safe for any number of goroutines.
func Certificate(cert tls.Certificate, clientID string) (Assertion, error) {
	key, ok := cert.PrivateKey.(crypto.Signer)
	if !ok || len(cert.Certificate) == 0 {
		return nil, configError(errors.New("the certificate has no key"))
	}
	if _, ok := key.Public().(*rsa.PublicKey); !ok {
		return nil, configError(fmt.Errorf("the certificate's key is %T, not RSA", key.Public()))
	}
	sum := sha256.Sum256(cert.Certificate[0])
	header := map[string]any{"typ": "JWT", "alg": "PS256", "x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}
	return func(_ context.Context, audience string) (driver.Secret, error) {
		now := time.Now()
		return sign(key, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}, header, map[string]any{
			"iss": clientID, "sub": clientID, "aud": audience, "jti": rand.Text(),
			"nbf": now.Unix(), "exp": now.Add(assertionLife).Unix(),
		})
	}, nil
}

// ServiceAccount makes a source for a service account of Google (RFC 7523
// section 2.1, signed with RS256). keyFile is the content of its JSON file;
// subject is the mailbox to be opened, which needs domain-wide delegation, ""
// for none. An empty TokenURL means that of the file. The source may be called
// by any number of goroutines.
func (c Config) ServiceAccount(keyFile []byte, subject string) (driver.TokenSource, error) {
	var file struct {
		Type         string `json:"type"`
		ClientEmail  string `json:"client_email"`
		PrivateKeyID string `json:"private_key_id"`
		PrivateKey   string `json:"private_key"`
		TokenURI     string `json:"token_uri"`
	}
	if len(keyFile) > maxKeyFile {
		return nil, configError(fmt.Errorf("the key file is longer than %d bytes: %w", maxKeyFile, driver.ErrLimit))
	}
	// The decoder's text may quote the file.
	if json.Unmarshal(keyFile, &file) != nil || file.Type != "service_account" || file.ClientEmail == "" {
		return nil, configError(errors.New("the key file is not that of a service account"))
	}
	key, err := readKey(file.PrivateKey)
	if err != nil {
		return nil, configError(err)
	}
	if c.TokenURL == "" {
		c.TokenURL = file.TokenURI
	}
	if err := c.check(false); err != nil {
		return nil, err
	}
	c.ClientID, c.Secret, c.Assertion = "", driver.Secret{}, nil
	header := map[string]any{"typ": "JWT", "alg": "RS256", "kid": file.PrivateKeyID}
	return func(ctx context.Context) (driver.Token, error) {
		now := time.Now()
		claims := map[string]any{
			"iss": file.ClientEmail, "scope": strings.Join(c.Scopes, " "), "aud": c.TokenURL,
			"iat": now.Unix(), "exp": now.Add(assertionLife).Unix(),
		}
		if subject != "" {
			claims["sub"] = subject
		}
		assertion, err := sign(key, crypto.SHA256, header, claims)
		if err != nil {
			return driver.Token{}, wrap(driver.KindLocal, &Error{Step: StepSign, Err: err})
		}
		tok, err := c.ask(ctx, url.Values{"grant_type": {grantJWT}, "assertion": {assertion.Reveal()}})
		if err != nil {
			return driver.Token{}, err
		}
		return toDriver(tok), nil
	}, nil
}

// readKey reads PEM, PKCS #8 or PKCS #1. Errors hold nothing of the text.
func readKey(text string) (crypto.Signer, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("the private key is not PEM")
	}
	if k, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		if rk, ok := k.(*rsa.PrivateKey); ok {
			return rk, nil
		}
		return nil, fmt.Errorf("the private key is %T, not RSA", k)
	}
	k, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("the private key is neither PKCS #8 nor PKCS #1")
	}
	return k, nil
}

// sign makes a JWS in compact form (RFC 7515 section 3.1).
func sign(key crypto.Signer, opts crypto.SignerOpts, header, claims map[string]any) (driver.Secret, error) {
	h, err := json.Marshal(header)
	if err != nil {
		return driver.Secret{}, err
	}
	c, err := json.Marshal(claims)
	if err != nil {
		return driver.Secret{}, err
	}
	text := base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(c)
	sum := sha256.Sum256([]byte(text))
	sig, err := key.Sign(rand.Reader, sum[:], opts)
	if err != nil {
		return driver.Secret{}, err
	}
	return driver.NewSecret(text + "." + base64.RawURLEncoding.EncodeToString(sig)), nil
}
