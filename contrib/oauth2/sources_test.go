package oauth2_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/contrib/oauth2"
	"github.com/maildriver/maildriver/contrib/oauth2/oauth2test"
	"github.com/maildriver/maildriver/driver"
)

func config(s *oauth2test.Server) oauth2.Config {
	return oauth2.Config{
		TokenURL: oauth2test.TokenURL, DeviceURL: oauth2test.DeviceURL,
		ClientID: s.ClientID, Secret: driver.NewSecret(s.ClientSecret),
		Scopes: []string{"mail", "offline_access"}, Transport: s.Transport(),
	}
}

// noSecret greps an error, in every form it is printed in, for the secrets of
// the fake server.
func noSecret(t *testing.T, err error) {
	t.Helper()
	for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
		for _, secret := range []string{"app-secret/ü+1", "refresh-secret-0", "refresh-secret-1", "access-secret-1", oauth2test.DeviceCode} {
			for _, form := range []string{
				secret, url.QueryEscape(secret), fmt.Sprintf("%x", secret), fmt.Sprintf("%q", secret),
				base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret)),
			} {
				assert.NotContains(t, text, form)
			}
		}
	}
}

func TestClientCredentials(t *testing.T) {
	for _, header := range []bool{false, true} {
		s := oauth2test.New()
		c := config(s)
		c.SecretInHeader = header
		source, err := c.ClientCredentials()
		require.NoError(t, err)
		assert.NotContains(t, fmt.Sprintf("%v %+v %#v", c, c, c), s.ClientSecret)
		before := time.Now()
		tok, err := source(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "access-secret-1", tok.Value.Reveal())
		assert.WithinDuration(t, before.Add(time.Hour), tok.Expiry, time.Minute)
		reqs := s.Requests()
		require.Len(t, reqs, 1, "one way to send the secret, tried once")
		assert.Equal(t, "client_credentials", reqs[0].Form.Get("grant_type"))
		assert.Equal(t, "mail offline_access", reqs[0].Form.Get("scope"))
		assert.Equal(t, header, reqs[0].User == "app" && reqs[0].Password == s.ClientSecret)
		assert.Equal(t, header, reqs[0].Form.Get("client_secret") == "")
	}
}

func TestTokenWithoutExpiry(t *testing.T) {
	s := oauth2test.New()
	s.Life = 0
	source, err := config(s).ClientCredentials()
	require.NoError(t, err)
	tok, err := source(t.Context())
	require.NoError(t, err)
	assert.Zero(t, tok.Expiry)
}

// The store of the driver and a source together: one question an hour, one for
// all that wait, one more after a refusal.
func TestSourceInTokenStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := oauth2test.New()
		source, err := config(s).ClientCredentials()
		require.NoError(t, err)
		store := driver.NewTokenStore(source)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				_, err := store.Token(t.Context())
				assert.NoError(t, err)
			})
		}
		wg.Wait()
		require.Len(t, s.Requests(), 1)
		time.Sleep(58 * time.Minute) // of the bubble's clock
		_, err = store.Token(t.Context())
		require.NoError(t, err)
		require.Len(t, s.Requests(), 1)
		time.Sleep(90 * time.Second) // of the bubble's clock, half a minute before its end
		tok, err := store.Token(t.Context())
		require.NoError(t, err)
		require.Len(t, s.Requests(), 2)
		store.Refused(tok)
		tok, err = store.Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "access-secret-3", tok.Value.Reveal())
	})
}

func TestRefusals(t *testing.T) {
	answer := oauth2test.Answer
	oauthErr := func(status int, code string) http.HandlerFunc {
		return answer(status, `{"error":"`+code+`","error_description":"why"}`)
	}
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		kind   driver.Kind
		is     error
		says   string
	}{
		"refresh token refused":  {oauthErr(400, "invalid_grant"), driver.KindAuth, oauth2.ErrGrantRefused, `HTTP 400 "invalid_grant" "why"`},
		"password changed":       {oauthErr(400, "interaction_required"), driver.KindAuth, oauth2.ErrGrantRefused, "authorise anew"},
		"invalid client":         {oauthErr(401, "invalid_client"), driver.KindAuth, oauth2.ErrClientRefused, "check its id, secret or certificate"},
		"not allowed":            {oauthErr(400, "unauthorized_client"), driver.KindAuth, oauth2.ErrClientRefused, ""},
		"401 alone":              {answer(401, ""), driver.KindAuth, oauth2.ErrClientRefused, "HTTP 401"},
		"error with status 200":  {oauthErr(200, "invalid_grant"), driver.KindAuth, oauth2.ErrGrantRefused, ""},
		"wrong scope":            {oauthErr(400, "invalid_scope"), driver.KindConfig, nil, "invalid_scope"},
		"busy":                   {answer(503, "<html>"), driver.KindTemporary, nil, "HTTP 503"},
		"too many":               {answer(429, ""), driver.KindTemporary, nil, "HTTP 429"},
		"wrong address":          {answer(404, "not here"), driver.KindConfig, nil, "no token endpoint"},
		"unknown code":           {oauthErr(400, "strange"), driver.KindProtocol, nil, `"strange"`},
		"code with controls":     {oauthErr(400, `a\u001b[2Jb`), driver.KindProtocol, nil, "HTTP 400"},
		"text with controls":     {answer(400, `{"error":"x","error_description":"a\u001b[2J\u202eb"}`), driver.KindProtocol, nil, `\x1b[2J\u202eb`},
		"garbage":                {answer(200, "{"), driver.KindProtocol, nil, "not one of RFC 6749"},
		"array":                  {answer(200, `[1]`), driver.KindProtocol, nil, "not one of RFC 6749"},
		"no token":               {answer(200, `{"token_type":"bearer"}`), driver.KindProtocol, nil, "not one of RFC 6749"},
		"binary":                 {answer(200, "\x00\xff\xfe"), driver.KindProtocol, nil, ""},
		"other type":             {answer(200, `{"access_token":"x","token_type":"mac"}`), driver.KindProtocol, nil, `"MAC", not Bearer`},
		"token with CRLF":        {answer(200, `{"access_token":"x\r\nQUIT","token_type":"bearer"}`), driver.KindProtocol, nil, "RFC 6750"},
		"ended when it came":     {answer(200, `{"access_token":"x","token_type":"bearer","expires_in":-5}`), driver.KindProtocol, nil, "ended when it came"},
		"strange expires_in":     {answer(200, `{"access_token":"x","expires_in":"soon"}`), driver.KindProtocol, nil, "not one of RFC 6749"},
		"huge":                   {answer(200, `{"access_token":"`+strings.Repeat("x", oauth2.MaxAnswer)+`"}`), driver.KindProtocol, driver.ErrLimit, "longer than 262144 bytes"},
		"huge error":             {answer(400, strings.Repeat("x", oauth2.MaxAnswer+1)), driver.KindProtocol, driver.ErrLimit, ""},
		"long description":       {answer(400, `{"error":"x","error_description":"`+strings.Repeat("y", 5000)+`"}`), driver.KindProtocol, nil, "yyy..."},
		"secret repeated":        {answer(401, `{"error":"invalid_client","error_description":"wrong secret app-secret/ü+1"}`), driver.KindAuth, nil, "invalid_client"},
		"secret repeated, coded": {answer(401, `{"error":"invalid_client","error_description":"`+url.QueryEscape("app-secret/ü+1")+`"}`), driver.KindAuth, nil, ""},
		"secret as code":         {answer(401, `{"error":"refresh-secret-0"}`), driver.KindAuth, nil, ""},
		"secret in garbage":      {answer(200, `app-secret/ü+1 refresh-secret-0`), driver.KindProtocol, nil, ""},
		"secret in error page":   {answer(500, `app-secret/ü+1 refresh-secret-0`), driver.KindTemporary, nil, ""},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://evil.example/token", http.StatusTemporaryRedirect)
		}, driver.KindPolicy, nil, "not sent elsewhere"},
	} {
		t.Run(name, func(t *testing.T) {
			s := oauth2test.New()
			s.Then(tt.answer)
			source, err := config(s).RefreshToken(driver.NewSecret(s.Refresh), nil)
			require.NoError(t, err)
			_, err = source(t.Context())
			require.Error(t, err)
			assert.Equal(t, tt.kind, driver.KindOf(err), "%v", err)
			if tt.is != nil {
				require.ErrorIs(t, err, tt.is)
			}
			assert.Contains(t, err.Error(), tt.says)
			assert.Less(t, len(err.Error()), 600)
			e, ok := errors.AsType[*oauth2.Error](err)
			require.True(t, ok)
			assert.Equal(t, oauth2.StepToken, e.Step)
			noSecret(t, err)
			require.Len(t, s.Requests(), 1)
			_, err = source(t.Context()) // a failure leaves the source good
			assert.NoError(t, err)
		})
	}
}

func TestMuteServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := oauth2test.New()
		source, err := config(s).ClientCredentials()
		require.NoError(t, err)
		s.Then(oauth2test.Mute)
		start := time.Now()
		_, err = source(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
		assert.Contains(t, err.Error(), "no answer within 30s")
		assert.Equal(t, oauth2.DefaultTimeout, time.Since(start))

		s.Then(oauth2test.Mute)
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("poll ended"))
		defer cancel()
		start = time.Now()
		_, err = source(ctx)
		require.ErrorContains(t, err, "poll ended")
		assert.Equal(t, time.Second, time.Since(start))
	})
}

// A server that stops in the middle, over a real connection, ends with the
// time limit; the connection and its goroutines end too (goleak).
func TestHalfAnAnswer(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm() // else the server does not see that the client has gone
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte(`{"access_token":`))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	srv := httptest.NewServer(http.HandlerFunc(h))
	defer srv.Close()
	c := oauth2.Config{TokenURL: srv.URL, ClientID: "app", Secret: driver.NewSecret("s3cret"), Timeout: 100 * time.Millisecond}
	source, err := c.ClientCredentials()
	require.NoError(t, err)
	_, err = source(t.Context())
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
}

// A token server with a certificate that nobody vouches for gets nothing (A25).
func TestCertificateIsVerified(t *testing.T) {
	s := oauth2test.New()
	srv := httptest.NewUnstartedServer(s)
	srv.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	srv.Config.ErrorLog = nil
	srv.StartTLS()
	defer srv.Close()
	source, err := oauth2.Config{TokenURL: srv.URL + "/token", ClientID: "app", Secret: driver.NewSecret(s.ClientSecret)}.ClientCredentials()
	require.NoError(t, err)
	_, err = source(t.Context())
	require.ErrorContains(t, err, "certificate")
	assert.Equal(t, driver.KindPolicy, driver.KindOf(err))
	assert.Empty(t, s.Requests())
}

func TestNobodyListens(t *testing.T) {
	srv := httptest.NewServer(nil)
	srv.Close()
	source, err := oauth2.Config{TokenURL: srv.URL, ClientID: "app", Secret: driver.NewSecret("s3cret")}.ClientCredentials()
	require.NoError(t, err)
	_, err = source(t.Context())
	assert.Equal(t, driver.KindTemporary, driver.KindOf(err), "%v", err)
}

func TestRotation(t *testing.T) {
	s := oauth2test.New()
	s.Rotate = true
	var stored []string
	fail := errors.New("disk full")
	store := func(_ context.Context, r driver.Secret) error {
		stored = append(stored, r.Reveal())
		return fail
	}
	source, err := config(s).RefreshToken(driver.NewSecret(s.Refresh), store)
	require.NoError(t, err)
	for range 2 {
		_, err = source(t.Context())
		require.ErrorIs(t, err, fail)
		assert.Equal(t, driver.KindLocal, driver.KindOf(err))
		noSecret(t, err)
	}
	require.Len(t, s.Requests(), 1, "nothing is asked before the token is stored")
	fail = nil
	tok, err := source(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "access-secret-1", tok.Value.Reveal(), "the token that came with it is not lost")
	tok, err = source(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "access-secret-2", tok.Value.Reveal())
	assert.Equal(t, []string{"refresh-secret-1", "refresh-secret-1", "refresh-secret-1", "refresh-secret-2"}, stored)
	assert.Equal(t, "refresh-secret-1", s.Requests()[1].Form.Get("refresh_token"))
}

// The access token ended while the host could not store: it is replaced.
func TestRotationAfterALongOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := oauth2test.New()
		s.Rotate = true
		fail := errors.New("disk full")
		source, err := config(s).RefreshToken(driver.NewSecret(s.Refresh), func(context.Context, driver.Secret) error { return fail })
		require.NoError(t, err)
		_, err = source(t.Context())
		require.Error(t, err)
		time.Sleep(2 * time.Hour) // of the bubble's clock
		fail = nil
		tok, err := source(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "access-secret-2", tok.Value.Reveal())
	})
}

// A54: many callers at once never use one refresh token twice; the fake ends
// the authorisation if they do.
func TestRefreshRace(t *testing.T) {
	s := oauth2test.New()
	s.Rotate = true
	source, err := config(s).RefreshToken(driver.NewSecret(s.Refresh), func(context.Context, driver.Secret) error { return nil })
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			_, err := source(t.Context())
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	assert.Len(t, s.Requests(), 50)
}

func TestRefreshWaitsNoLongerThanTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := oauth2test.New()
		s.Then(oauth2test.Mute)
		source, err := config(s).RefreshToken(driver.NewSecret(s.Refresh), nil)
		require.NoError(t, err)
		go func() { _, _ = source(t.Context()) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = source(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		time.Sleep(time.Minute) // of the bubble's clock
	})
}

func TestConfigErrors(t *testing.T) {
	good := config(oauth2test.New())
	for name, tt := range map[string]struct {
		change func(*oauth2.Config)
		says   string
	}{
		"no client":     {func(c *oauth2.Config) { c.ClientID = "" }, "ClientID is empty"},
		"no secret":     {func(c *oauth2.Config) { c.Secret = driver.Secret{} }, "need Secret or Assertion"},
		"no URL":        {func(c *oauth2.Config) { c.TokenURL = "" }, "TokenURL is empty"},
		"clear":         {func(c *oauth2.Config) { c.TokenURL = "http://login.example.com/token" }, "is not https"},
		"ftp":           {func(c *oauth2.Config) { c.TokenURL = "ftp://localhost/token" }, "is not https"},
		"user in URL":   {func(c *oauth2.Config) { c.TokenURL = "https://u:hidden@example.com/" }, "holds a user name"},
		"bad URL":       {func(c *oauth2.Config) { c.TokenURL = "https://u:hidden@exa mple" }, "is not a URL"},
		"tenant":        {func(c *oauth2.Config) { c.TokenURL = "https://example.com/{tenant}" }, "not filled in"},
		"fragment":      {func(c *oauth2.Config) { c.TokenURL = "https://example.com/#x" }, "fragment"},
		"no host":       {func(c *oauth2.Config) { c.TokenURL = "https:///x" }, "no host"},
		"scope":         {func(c *oauth2.Config) { c.Scopes = []string{"a b"} }, "is not a scope"},
		"timeout":       {func(c *oauth2.Config) { c.Timeout = -1 }, "negative"},
		"secret absent": {func(c *oauth2.Config) { c.Secret = driver.SecretFromEnv("MAILDRIVER_NO_SUCH_VARIABLE") }, "MAILDRIVER_NO_SUCH_VARIABLE"},
	} {
		t.Run(name, func(t *testing.T) {
			s := oauth2test.New()
			c := good
			c.Transport = s.Transport()
			tt.change(&c)
			source, err := c.ClientCredentials()
			if err == nil {
				_, err = source(t.Context())
			}
			require.ErrorContains(t, err, tt.says)
			assert.Equal(t, driver.KindConfig, driver.KindOf(err))
			assert.NotContains(t, err.Error(), "hidden")
			assert.Empty(t, s.Requests(), "nothing is sent")
		})
	}
}
