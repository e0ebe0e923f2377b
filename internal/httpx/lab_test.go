package httpx

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

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

// apacheLog gives the lines of Apache's access log about the requests with an
// id, once n of them were let in.
func apacheLog(t *testing.T, lab *labtest.Lab, id string, n int) (lines []string) {
	t.Helper()
	file := filepath.Join(filepath.Dir(lab.Addr(t, "LAB_KRB5_CONF")), "log", "apache.access")
	require.Eventually(t, func() bool {
		b, err := os.ReadFile(file)
		if err != nil {
			return false
		}
		lines = nil
		in := 0
		for l := range strings.Lines(string(b)) {
			if strings.Contains(l, id) {
				lines = append(lines, l)
				if strings.Contains(l, `"POST `) && strings.Contains(l, `" 200 `) {
					in++
				}
			}
		}
		return in >= n
	}, 10*time.Second, 10*time.Millisecond)
	return lines
}

// Every scheme that the lab's Apache has, right and wrong, over HTTP and HTTPS.
// The server names the user that it believes in.
func TestApache(t *testing.T) {
	t.Parallel()
	lab := labtest.Find(t)
	cert, err := tls.LoadX509KeyPair(lab.Addr(t, "LAB_CLIENT_CERT"), lab.Addr(t, "LAB_CLIENT_KEY"))
	require.NoError(t, err)
	right := driver.WithLogin("alice", "alice-secret")
	var mu sync.Mutex
	rows := []string{}
	out := func(name, path, base string, err error) {
		verdict := "let in, as Apache's log says"
		if err != nil {
			verdict = driver.KindOf(err).String()
		}
		mu.Lock()
		defer mu.Unlock()
		rows = append(rows, fmt.Sprintf("%-22s %-10s %-10s %s", name, path, strings.TrimPrefix(base, "LAB_"), verdict))
	}
	t.Cleanup(func() {
		slices.Sort(rows)
		t.Log("logins at the lab's Apache\n" + strings.Join(rows, "\n"))
	})
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
			id := rand.Text()
			n := driver.NewNetwork()
			require.NoError(t, driver.Apply(append(labOptions(t, lab), c.opts...), &n))
			cl, err := New(&n, Options{Driver: "TEST", URL: u})
			require.NoError(t, err)
			t.Cleanup(func() { _ = cl.Close() })
			body := strings.Repeat("hello, ", 20_000)
			for i := range 3 {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, u.String()+c.path+"/echo?id="+id, strings.NewReader(body))
				require.NoError(t, err)
				resp, err := cl.Do(req)
				if err == nil && resp.StatusCode != 200 {
					err = cl.Refuse("post", driver.KindUnknown, resp)
				}
				if c.kind != driver.KindUnknown {
					require.Error(t, err)
					assert.Equal(t, c.kind, driver.KindOf(err), "%v", err)
					assert.NotContains(t, err.Error(), "secret")
					for _, l := range apacheLog(t, lab, id, 0) {
						assert.NotContains(t, l, `" 200 `)
					}
					out(c.name, c.path, c.base, err)
					return
				}
				require.NoError(t, err)
				got, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				require.NoError(t, resp.Body.Close())
				assert.Equal(t, body, string(got), "request %d", i)
				assert.Contains(t, fmt.Sprint(resp.Header.Values("X-Lab-User")), "alice")
			}
			// The path tells the mechanism: Apache takes no other there.
			let := slices.DeleteFunc(apacheLog(t, lab, id, 3), func(l string) bool { return !strings.Contains(l, `"POST `) || !strings.Contains(l, `" 200 `) })
			require.Len(t, let, 3, "the server's own log")
			for _, l := range let {
				assert.Contains(t, l, "alice")
			}
			out(c.name, c.path, c.base, nil)
		})
	}
}
