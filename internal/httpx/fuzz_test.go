package httpx

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzCookie sets whatever a server may set and wants a header that is one.
func FuzzCookie(f *testing.F) {
	for _, s := range []string{`cadata="2,8JOr+/=="; path=/`, "a=b; max-age=0", "=x", "a", "a=b\x00", "a=\u00e9; path=/x;expires=x", "a=b;;;=;path"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		j := new(jar)
		req := &http.Request{Header: http.Header{}, URL: &url.URL{Path: "/"}}
		j.take(req, http.Header{"Set-Cookie": {line, line, "b=c"}})
		j.attach(req)
		got := req.Header.Get("Cookie")
		require.LessOrEqual(t, len(j.cookies), 2)
		for i := range len(got) {
			require.True(t, got[i] >= ' ' && got[i] != 0x7f, "%q", got)
		}
		if name, value, ok := strings.Cut(got, "="); ok && len(j.cookies) == 2 && j.cookies[0].path == "" {
			require.True(t, strings.Contains(line, name) && strings.Contains(line+"b=c", strings.SplitN(value, ";", 2)[0]))
		}
	})
}
