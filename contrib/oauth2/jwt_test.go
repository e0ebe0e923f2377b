package oauth2_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/contrib/oauth2"
	"github.com/maildriver/maildriver/contrib/oauth2/oauth2test"
	"github.com/maildriver/maildriver/driver"
)

func rsaKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	return key
}

func TestCertificate(t *testing.T) {
	key := rsaKey(t)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{}, &key.PublicKey, key)
	require.NoError(t, err)
	assertion, err := oauth2.Certificate(tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, "app")
	require.NoError(t, err)
	s := oauth2test.New()
	s.Key = &key.PublicKey
	c := config(s)
	c.Secret, c.Assertion = driver.Secret{}, assertion

	source, err := c.ClientCredentials()
	require.NoError(t, err)
	for range 2 {
		_, err = source(t.Context())
		require.NoError(t, err)
	}
	refresh, err := c.RefreshToken(driver.NewSecret(s.Refresh), nil)
	require.NoError(t, err)
	_, err = refresh(t.Context())
	require.NoError(t, err)
	s.Approve()
	seen := map[any]bool{}
	for _, r := range s.Requests() {
		assert.Empty(t, r.Form.Get("client_secret"))
		claims, err := oauth2test.Verify(r.Form.Get("client_assertion"), &key.PublicKey)
		require.NoError(t, err)
		assert.Equal(t, "app", claims["iss"])
		assert.Equal(t, oauth2test.TokenURL, claims["aud"])
		assert.False(t, seen[claims["jti"]], "an assertion was used twice")
		seen[claims["jti"]] = true
	}

	s.Key = &rsaKey(t).PublicKey // the server knows another certificate
	_, err = source(t.Context())
	require.ErrorIs(t, err, oauth2.ErrClientRefused)
}

func TestCertificateErrors(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	_, err = oauth2.Certificate(tls.Certificate{Certificate: [][]byte{{1}}, PrivateKey: ec}, "app")
	require.ErrorContains(t, err, "not RSA")
	_, err = oauth2.Certificate(tls.Certificate{Certificate: [][]byte{{1}}}, "app")
	require.ErrorContains(t, err, "no key")
	assert.Equal(t, driver.KindConfig, driver.KindOf(err))
	c := config(oauth2test.New())
	c.Assertion, err = oauth2.Certificate(tls.Certificate{Certificate: [][]byte{{1}}, PrivateKey: rsaKey(t)}, "app")
	require.NoError(t, err)
	_, err = c.ClientCredentials()
	require.ErrorContains(t, err, "exclude each other")
}

func keyFile(t *testing.T, change func(map[string]string)) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(testKey)
	require.NoError(t, err)
	m := map[string]string{
		"type": "service_account", "client_email": "robot@project.example", "private_key_id": "k1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"token_uri":   oauth2test.TokenURL,
	}
	if change != nil {
		change(m)
	}
	b, err := json.Marshal(m)
	require.NoError(t, err)
	return b
}

var testKey = func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
}()

func TestServiceAccount(t *testing.T) {
	s := oauth2test.New()
	s.Key = &testKey.PublicKey
	c := oauth2.Config{Scopes: []string{"https://mail.google.com/"}, Transport: s.Transport()}
	source, err := c.ServiceAccount(keyFile(t, nil), "user@customer.example")
	require.NoError(t, err)
	tok, err := source(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "access-secret-1", tok.Value.Reveal())
	form := s.Requests()[0].Form
	claims, err := oauth2test.Verify(form.Get("assertion"), s.Key)
	require.NoError(t, err)
	assert.Equal(t, "robot@project.example", claims["iss"])
	assert.Equal(t, "user@customer.example", claims["sub"])
	assert.Equal(t, "https://mail.google.com/", claims["scope"])
	assert.Equal(t, oauth2test.TokenURL, claims["aud"])
	assert.Empty(t, form.Get("scope"))
	assert.Empty(t, form.Get("client_id"))

	s.Key = &rsaKey(t).PublicKey
	_, err = source(t.Context())
	require.ErrorIs(t, err, oauth2.ErrGrantRefused)
	noSecret(t, err)
}

func TestServiceAccountErrors(t *testing.T) {
	set := func(name, value string) []byte {
		return keyFile(t, func(m map[string]string) { m[name] = value })
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(ec)
	require.NoError(t, err)
	for name, tt := range map[string]struct {
		file []byte
		says string
	}{
		"empty":     {nil, "not that of a service account"},
		"user":      {set("type", "authorized_user"), "not that of a service account"},
		"no name":   {set("client_email", ""), "not that of a service account"},
		"huge":      {make([]byte, 100<<10), "longer than 65536 bytes"},
		"no PEM":    {set("private_key", "hidden"), "not PEM"},
		"bad PEM":   {set("private_key", "-----BEGIN PRIVATE KEY-----\naGlkZGVu\n-----END PRIVATE KEY-----\n"), "neither PKCS #8 nor PKCS #1"},
		"EC":        {set("private_key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))), "not RSA"},
		"clear URL": {set("token_uri", "http://login.example.com/"), "not https"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := oauth2.Config{}.ServiceAccount(tt.file, "")
			require.ErrorContains(t, err, tt.says)
			assert.Equal(t, driver.KindConfig, driver.KindOf(err))
			assert.NotContains(t, err.Error(), "hidden")
			assert.NotContains(t, err.Error(), "aGlkZGVu")
		})
	}
}
