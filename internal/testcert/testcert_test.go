package testcert_test

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/internal/testcert"
)

func TestCertificatesAreGoodForTheirNamesAlone(t *testing.T) {
	roots := testcert.RootCAs()
	check := func(c *x509.Certificate, name string, at time.Time) error {
		_, err := c.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: at})
		return err
	}
	local := testcert.Local().Leaf
	for _, name := range testcert.LocalNames() {
		require.NoError(t, check(local, name, time.Time{}), name)
	}
	assert.Error(t, check(local, "mail.example.com", time.Time{}))
	assert.Error(t, check(local, "localhost", time.Now().Add(48*time.Hour)))
	assert.Error(t, check(testcert.New(time.Now().Add(-time.Hour), "localhost").Leaf, "localhost", time.Time{}))
	_, err := local.Verify(x509.VerifyOptions{DNSName: "localhost", Roots: x509.NewCertPool()})
	assert.Error(t, err, "nobody else trusts it")
}
