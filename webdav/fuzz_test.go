package webdav

import (
	"encoding/base64"
	"encoding/hex"
	"io"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func debugLogger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// secretForms writes a password in the forms in which it could slip out.
func secretForms(user, pass string) []string {
	return []string{
		pass, url.QueryEscape(pass), url.PathEscape(pass), hex.EncodeToString([]byte(pass)), strings.Trim(strconv.Quote(pass), `"`),
		base64.StdEncoding.EncodeToString([]byte(pass)), base64.StdEncoding.EncodeToString([]byte(user + ":" + pass)),
		base64.RawURLEncoding.EncodeToString([]byte(pass)),
	}
}

func FuzzMultistatus(f *testing.F) {
	for _, c := range hostileXML {
		b, _ := io.ReadAll(io.LimitReader(c.text(), 4<<10))
		f.Add(string(b))
	}
	f.Add(msHead + `<D:response><D:href>/a</D:href><D:propstat><D:prop><D:getetag>"x"</D:getetag></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>` + msTail)
	f.Fuzz(func(t *testing.T, text string) {
		err := readMultistatus(strings.NewReader(text), func(r *response) error {
			require.NotEmpty(t, r.href)
			_ = r.worst()
			if it, err := exchangeItem(r); err == nil {
				require.NotEmpty(t, it.id)
				require.True(t, strings.HasPrefix(string(it.path), "/"))
			}
			return nil
		})
		if err == nil {
			assert.Contains(t, text, "multistatus")
		}
	})
}

func FuzzHref(f *testing.F) {
	for _, s := range []string{"/a b", "http://h/x%zz", "https://h", " /ü/%41 ", "//h/x", "/a\r\nX: y", "/%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, href string) {
		p, err := hrefPath(href)
		if err != nil {
			return
		}
		u := p.url(&url.URL{Scheme: "http", Host: "h"})
		line := u.RequestURI()
		assert.Equal(t, string(p), line, "it goes into the request line as it is")
		for i := range len(line) {
			require.True(t, line[i] > ' ' && line[i] < 0x7f && line[i] != '#' && line[i] != '?', "%q", line)
		}
		again, err := hrefPath(string(p))
		require.NoError(t, err)
		assert.Equal(t, p, again)
	})
}

func FuzzLoginPage(f *testing.F) {
	for _, s := range []string{
		`<form action=x><input type=password name=p></form>`, `<frame src=a><iframe src=b>`, `<base href="/exchange/ann/">`,
		`<script>var a_sUrl = "/owa/"; var a_sLgnQS = 'auth.owa?x';</script>`, `<form><form><input`, "\x00<",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p := parsePage(text)
		require.LessOrEqual(t, len(p.forms), maxForms)
		if form := p.form(); form != nil {
			require.LessOrEqual(t, len(form.fields), maxFields)
		}
	})
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"rows 0-49; total=812", "rows=0-49;total=812", "rows 0-; total=1", "bytes 0-1/2", "rows -1-2; total=3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, v string) {
		if r, ok := readContentRange(v); ok {
			require.True(t, r.first >= 0 && r.last >= 0 && r.total >= 0)
		}
	})
}

// FuzzOutgoing holds the streaming editor against a simple one.
func FuzzOutgoing(f *testing.F) {
	for _, s := range []string{"a\nb", "Bcc: x\r\n y\r\nA: b\r\n\r\nBcc: z", "\r", "\r\r\n", "A: b\r\n\r\n\rx\r", "\nBcc: a", "A: b\rBcc: c\r\rBcc: d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		got, err := io.ReadAll(newOutgoing(io.NopCloser(strings.NewReader(in))))
		require.NoError(t, err)
		out := string(got)
		assert.NotContains(t, strings.ReplaceAll(out, "\r\n", ""), "\r")
		assert.NotContains(t, strings.ReplaceAll(out, "\r\n", ""), "\n")
		if !strings.Contains(strings.ToLower(in), "bcc") {
			want := strings.NewReplacer("\r\n", "\r\n", "\r", "\r\n", "\n", "\r\n").Replace(in)
			if want != "" && !strings.HasSuffix(want, "\r\n") {
				want += "\r\n"
			}
			assert.Equal(t, want, out)
		}
		head, _, _ := strings.Cut("\r\n"+out, "\r\n\r\n")
		for line := range strings.SplitSeq(head, "\r\n") {
			assert.False(t, len(line) >= 4 && strings.EqualFold(line[:4], "bcc:"), "%q", out)
		}
	})
}

// The addresses that a login page is known by.
func TestLogonPages(t *testing.T) {
	t.Parallel()
	for location, want := range map[string]logon{
		"https://h/exchweb/bin/auth/owalogon.asp?url=x&reason=0": logonForm,
		"/owa/auth/logon.aspx":            logonForm,
		"/CookieAuth.dll?GetLogon?curl=x": logonForm,
		"/exchange/logon.asp":             logonOld,
		"/exchange/ann/":                  notLogon,
		"":                                notLogon,
	} {
		assert.Equal(t, want, logonPage(location), location)
	}
	p := parsePage(`<script>var a_sUrl = "/owa/auth/"; var a_sLgn = "owaauth.dll";</script><form name=logonForm><input name=u><input type=password name=pw></form>`)
	assert.Equal(t, "/owa/auth/owaauth.dll", p.script)
	require.NotNil(t, p.form())
	assert.Equal(t, "pw", p.form().password)
}
