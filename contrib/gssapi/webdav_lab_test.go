package gssapi_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/contrib/gssapi"
	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/driver/drivertest"
	"github.com/maildriver/maildriver/webdav"
)

// The plain WebDAV driver on Apache over Negotiate, with the conformance suite.
func TestLabWebDAVConformance(t *testing.T) {
	l := openLab(t)
	client := l.client(gssapi.Password(labPrincipal, driver.NewSecret(labPassword)))
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	// Filled and counted without a login, over another path of the same folder.
	open := func(t *testing.T, method, url string, body io.Reader) string {
		t.Helper()
		req, err := http.NewRequest(method, url, body)
		require.NoError(t, err)
		req.Header.Set("Depth", "1")
		resp, err := transport.RoundTrip(req)
		require.NoError(t, err)
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Less(t, resp.StatusCode, 300, "%s %s", method, url)
		return string(b)
	}
	drivertest.Run(t, drivertest.Harness{Parallel: true, Positions: 2, Start: func(t *testing.T) *drivertest.Server {
		name := "t-" + rand.Text() + "/"
		base := l.Addr(t, "LAB_HTTP") + "/open/dav/" + name
		open(t, "MKCOL", base, nil)
		serial := 0
		t.Cleanup(func() {
			req, err := http.NewRequest(http.MethodDelete, base, nil)
			require.NoError(t, err)
			resp, err := transport.RoundTrip(req)
			if assert.NoError(t, err) {
				_ = resp.Body.Close()
			}
		})
		return &drivertest.Server{
			New: func(opts ...driver.Option) (driver.Driver, error) {
				own := []driver.Option{webdav.WithPlain(), driver.WithNegotiator(client), driver.WithMechanisms("NEGOTIATE")}
				d, err := webdav.New(l.Addr(t, "LAB_HTTP")+"/negotiate/dav/"+name, append(own, opts...)...)
				if err != nil {
					return nil, err
				}
				return d, nil
			},
			Add: func(raw ...[]byte) {
				for _, b := range raw {
					serial++
					open(t, http.MethodPut, fmt.Sprintf("%sm%06d.eml", base, serial), bytes.NewReader(b))
				}
			},
			Left: func() int {
				return strings.Count(open(t, "PROPFIND", base, nil), ".eml</D:href>")
			},
		}
	}})
}
