package httpx

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/labtest"
)

// labOptions trust the lab's authority.
func labOptions(t *testing.T, lab *labtest.Lab) []driver.Option {
	t.Helper()
	pem, err := os.ReadFile(lab.Addr(t, "LAB_CA"))
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(pem))
	return []driver.Option{driver.WithRootCAs(pool)}
}

// Every scheme that the lab's Apache has, right and wrong, over HTTP and HTTPS.
// The server names the user that it believes in.
func TestApache(t *testing.T) {
	t.Parallel()
	lab := labtest.Find(t)
	cert, err := tls.LoadX509KeyPair(lab.Addr(t, "LAB_CLIENT_CERT"), lab.Addr(t, "LAB_CLIENT_KEY"))
	require.NoError(t, err)
	right := driver.WithLogin("alice", "alice-secret")
	for _, c := range []struct {
		name, path, base string
		opts             []driver.Option
		kind             driver.Kind // of the error, KindUnknown for none
	}{
		{"basic", "/basic", "LAB_HTTPS", []driver.Option{right}, 0},
		{"basic named", "/basic", "LAB_HTTPS", []driver.Option{right, driver.WithMechanisms("BASIC")}, 0},
		{"basic wrong", "/basic", "LAB_HTTPS", []driver.Option{driver.WithLogin("alice", "wrong")}, driver.KindAuth},
		{"basic clear", "/basic", "LAB_HTTP", []driver.Option{right}, driver.KindPolicy},
		{"basic clear permitted", "/basic", "LAB_HTTP", []driver.Option{right, driver.WithInsecureAuth()}, 0},
		{"digest", "/digest", "LAB_HTTPS", []driver.Option{right}, 0},
		{"digest clear", "/digest", "LAB_HTTP", []driver.Option{right}, 0},
		{"digest wrong", "/digest", "LAB_HTTP", []driver.Option{driver.WithLogin("alice", "wrong")}, driver.KindAuth},
		{"digest not allowed", "/digest", "LAB_HTTPS", []driver.Option{right, driver.WithMechanisms("BASIC")}, driver.KindAuth},
		{"ntlm", "/ntlm", "LAB_HTTPS", []driver.Option{driver.WithLogin(`EXAMPLE\alice`, "alice-secret"), askNTLM}, 0},
		{"ntlm unasked", "/ntlm", "LAB_HTTPS", []driver.Option{driver.WithLogin(`EXAMPLE\alice`, "alice-secret")}, driver.KindAuth},
		{"ntlm clear", "/ntlm", "LAB_HTTP", []driver.Option{driver.WithLogin("alice", "alice-secret"), driver.WithDomain("EXAMPLE"), askNTLM}, 0},
		{"ntlm clear wrong", "/ntlm", "LAB_HTTP", []driver.Option{driver.WithLogin("alice", "wrong"), driver.WithDomain("EXAMPLE"), askNTLM}, driver.KindAuth},
		{"basic clear wrong", "/basic", "LAB_HTTP", []driver.Option{driver.WithLogin("alice", "wrong"), driver.WithInsecureAuth()}, driver.KindAuth},
		{"digest in TLS wrong", "/digest", "LAB_HTTPS", []driver.Option{driver.WithLogin("alice", "wrong")}, driver.KindAuth},
		{"ntlm in negotiate", "/ntlm", "LAB_HTTPS", []driver.Option{driver.WithLogin(`EXAMPLE\alice`, "alice-secret"), driver.WithMechanisms("NEGOTIATE")}, 0},
		{"ntlm wrong", "/ntlm", "LAB_HTTPS", []driver.Option{driver.WithLogin(`EXAMPLE\alice`, "wrong"), askNTLM}, driver.KindAuth},
		{"certificate", "/cert", "LAB_HTTPS", []driver.Option{driver.WithClientCertificate(cert)}, 0},
		{"no certificate", "/cert", "LAB_HTTPS", nil, driver.KindPermanent},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			u, err := url.Parse(lab.Addr(t, c.base))
			require.NoError(t, err)
			n := driver.NewNetwork()
			require.NoError(t, driver.Apply(append(labOptions(t, lab), c.opts...), &n))
			cl, err := New(&n, Options{Driver: "TEST", URL: u})
			require.NoError(t, err)
			t.Cleanup(func() { _ = cl.Close() })
			body := strings.Repeat("hello, ", 20_000)
			for i := range 3 {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, u.String()+c.path+"/echo", strings.NewReader(body))
				require.NoError(t, err)
				resp, err := cl.Do(req)
				if err == nil && resp.StatusCode != 200 {
					err = cl.Refuse("post", driver.KindUnknown, resp)
				}
				if c.kind != driver.KindUnknown {
					require.Error(t, err)
					assert.Equal(t, c.kind, driver.KindOf(err), "%v", err)
					assert.NotContains(t, err.Error(), "secret")
					t.Log(err)
					return
				}
				require.NoError(t, err)
				got, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				require.NoError(t, resp.Body.Close())
				assert.Equal(t, body, string(got), "request %d", i)
				assert.Contains(t, fmt.Sprint(resp.Header.Values("X-Lab-User")), "alice")
			}
		})
	}
}
