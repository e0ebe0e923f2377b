package httpx

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
)

// script serves connections one after the other with functions, the last of
// which serves all that follow.
func script(t *testing.T, serve ...func(c net.Conn, r *bufio.Reader)) *url.URL {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			serve[min(i, len(serve)-1)](c, bufio.NewReader(c))
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
	return &url.URL{Scheme: "http", Host: ln.Addr().String()}
}

func plainClient(t *testing.T, u *url.URL, timeout time.Duration, o Options) *Client {
	t.Helper()
	n := driver.NewNetwork()
	n.Timeout = timeout
	o.Driver, o.URL = "TEST", u
	c, err := New(&n, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func get(ctx context.Context, t *testing.T, c *Client, method string, u *url.URL, body string) (string, error) {
	t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String()+"/x", r)
	require.NoError(t, err)
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

// request reads one request.
func request(r *bufio.Reader) *http.Request {
	req, err := http.ReadRequest(r)
	if err != nil {
		return nil
	}
	_, _ = io.Copy(io.Discard, req.Body)
	return req
}

// A peer that says nothing, at each place where it can, is given up in time;
// one that is slow and says something is not.
func TestSilence(t *testing.T) {
	t.Parallel()
	const limit = 300 * time.Millisecond
	hang := func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) }
	for name, serve := range map[string]func(c net.Conn, r *bufio.Reader){
		"before the header": func(c net.Conn, r *bufio.Reader) { request(r); hang(c) },
		"in the header": func(c net.Conn, r *bufio.Reader) {
			request(r)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nA:")
			hang(c)
		},
		"in the body":   func(c net.Conn, r *bufio.Reader) { request(r); _, _ = io.WriteString(c, ok[:len(ok)-1]); hang(c) },
		"while writing": func(c net.Conn, _ *bufio.Reader) { timer := time.NewTimer(time.Second); <-timer.C },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := script(t, serve)
			body := "x"
			if name == "while writing" {
				body = strings.Repeat("x", 32<<20)
			}
			start := time.Now()
			_, err := get(t.Context(), t, plainClient(t, u, limit, Options{}), http.MethodPost, u, body)
			require.Error(t, err)
			assert.Equal(t, driver.KindTemporary, driver.KindOf(err), "%v", err)
			assert.Contains(t, err.Error(), "no answer within")
			assert.Less(t, time.Since(start), 2500*time.Millisecond)
		})
	}
	t.Run("slow, and longer than the limit in all", func(t *testing.T) {
		t.Parallel()
		part := strings.Repeat("x", 2<<10)
		u := script(t, func(c net.Conn, r *bufio.Reader) {
			request(r)
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", 8*len(part))
			tick := time.NewTicker(limit / 3)
			defer tick.Stop()
			for range 8 {
				<-tick.C
				_, _ = io.WriteString(c, part)
			}
		})
		got, err := get(t.Context(), t, plainClient(t, u, limit, Options{}), http.MethodGet, u, "")
		require.NoError(t, err)
		assert.Len(t, got, 8*len(part))
	})
	t.Run("dripping", func(t *testing.T) {
		t.Parallel()
		u := script(t, func(c net.Conn, r *bufio.Reader) {
			request(r)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
			tick := time.NewTicker(limit / 10)
			defer tick.Stop()
			for range 100 {
				<-tick.C
				if _, err := io.WriteString(c, "x"); err != nil {
					return
				}
			}
		})
		_, err := get(t.Context(), t, plainClient(t, u, limit, Options{}), http.MethodGet, u, "")
		require.ErrorContains(t, err, "no answer within")
	})
	t.Run("a longer limit for one request", func(t *testing.T) {
		t.Parallel()
		u := script(t, func(c net.Conn, r *bufio.Reader) {
			request(r)
			timer := time.NewTimer(2 * limit)
			defer timer.Stop()
			<-timer.C
			_, _ = io.WriteString(c, ok)
		})
		got, err := get(WithSilence(t.Context(), 5*time.Second), t, plainClient(t, u, limit, Options{}), http.MethodGet, u, "")
		require.NoError(t, err)
		assert.Equal(t, "hi", got)
	})
}

// Context and Close end what is under way, at once.
func TestEnds(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"header", "body"} {
		for _, how := range []string{"context", "close"} {
			t.Run(where+" "+how, func(t *testing.T) {
				t.Parallel()
				began := make(chan struct{})
				u := script(t, func(c net.Conn, r *bufio.Reader) {
					request(r)
					if where == "body" {
						_, _ = io.WriteString(c, ok[:len(ok)-1])
					}
					close(began)
					_, _ = c.Read(make([]byte, 1))
				})
				c := plainClient(t, u, time.Minute, Options{})
				ctx, cancel := context.WithCancelCause(t.Context())
				why := errors.New("enough")
				stopped := make(chan struct{})
				go func() {
					defer close(stopped)
					<-began
					if how == "close" {
						_ = c.Close()
					} else {
						cancel(why)
					}
				}()
				start := time.Now()
				_, err := get(ctx, t, c, http.MethodPost, u, "x")
				<-stopped
				require.Error(t, err)
				assert.Less(t, time.Since(start), 5*time.Second)
				if how == "close" {
					require.ErrorIs(t, err, driver.ErrClosed)
					assert.Equal(t, driver.KindClosed, driver.KindOf(err))
					_, err = get(t.Context(), t, c, http.MethodPost, u, "x")
					require.ErrorIs(t, err, driver.ErrClosed)
				} else {
					require.ErrorIs(t, err, why)
				}
				cancel(nil)
			})
		}
	}
}

// What may have reached the server is told from what cannot have.
func TestMaySent(t *testing.T) {
	t.Parallel()
	drop := func(net.Conn, *bufio.Reader) {}
	taken := func(_ net.Conn, r *bufio.Reader) { request(r) }
	u := script(t, taken)
	_, err := get(t.Context(), t, plainClient(t, u, time.Second, Options{}), http.MethodPost, u, "x")
	require.Error(t, err)
	assert.True(t, MaySent(err), "the request was read and no answer came")
	u = script(t, drop)
	_, err = get(t.Context(), t, plainClient(t, u, time.Second, Options{}), http.MethodPost, u, strings.Repeat("x", 64<<20))
	require.Error(t, err)
	assert.False(t, MaySent(err), "most of the body was never taken: %v", err)
	gone := script(t, drop)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	gone.Host = ln.Addr().String()
	require.NoError(t, ln.Close())
	_, err = get(t.Context(), t, plainClient(t, gone, time.Second, Options{}), http.MethodPost, gone, "x")
	require.Error(t, err)
	assert.False(t, MaySent(err))
	var de *driver.Error
	require.ErrorAs(t, err, &de)
	assert.Equal(t, "dial", de.Op)
}

// A connection that the server closed while it was idle costs nothing where a
// repeat is harmless, and is an error where it may not be.
func TestStaleConnection(t *testing.T) {
	t.Parallel()
	for method, repeated := range map[string]bool{"GET": true, "PROPFIND": true, "SEARCH": true, "POST": false} {
		u := script(t, func(c net.Conn, r *bufio.Reader) {
			request(r)
			_, _ = io.WriteString(c, ok)
			request(r) // the second one is read, and dropped
		}, func(c net.Conn, r *bufio.Reader) {
			request(r)
			_, _ = io.WriteString(c, ok)
		})
		c := plainClient(t, u, 5*time.Second, Options{})
		_, err := get(t.Context(), t, c, http.MethodGet, u, "")
		require.NoError(t, err)
		got, err := get(t.Context(), t, c, method, u, "body")
		if repeated {
			require.NoError(t, err, method)
			assert.Equal(t, "hi", got)
			continue
		}
		require.Error(t, err, method)
		assert.True(t, MaySent(err))
	}
}

// A body that is not of the announced length, or breaks off, never becomes a
// request that the server takes for whole, and is not tried again: the second
// try would do it twice.
func TestBodyOfAnotherLength(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		give   io.Reader
		length int64
	}{
		"longer":          {strings.NewReader("12345678"), 5},
		"longer by bytes": {iotest.OneByteReader(strings.NewReader("12345678")), 5},
		"longer by much":  {strings.NewReader(strings.Repeat("x", 64<<10)), 32 << 10},
		"shorter":         {strings.NewReader("123"), 5},
		"broken":          {io.MultiReader(strings.NewReader("123"), iotest.ErrReader(errors.New("disk on fire"))), 5},
		"broken behind":   {io.MultiReader(strings.NewReader("12345"), iotest.ErrReader(errors.New("disk on fire"))), 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var whole atomic.Int32
			u := script(t, func(conn net.Conn, r *bufio.Reader) {
				for {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					if _, err := io.Copy(io.Discard, req.Body); err != nil {
						return
					}
					whole.Add(1)
					_, _ = io.WriteString(conn, ok)
				}
			})
			client := plainClient(t, u, 5*time.Second, Options{})
			_, err := get(t.Context(), t, client, http.MethodGet, u, "") // the connection is in use already
			require.NoError(t, err)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, u.String()+"/x", io.NopCloser(c.give))
			require.NoError(t, err)
			req.ContentLength = c.length
			req.GetBody = func() (io.ReadCloser, error) {
				return io.NopCloser(strings.NewReader(strings.Repeat("y", int(c.length)))), nil
			}
			_, err = client.Do(req)
			require.Error(t, err)
			assert.False(t, MaySent(err), "%v", err)
			assert.Equal(t, driver.KindLocal, driver.KindOf(err), "%v", err)
			require.NoError(t, client.Close())
			assert.EqualValues(t, 1, whole.Load())
		})
	}
}

// What a server must not be able to do to us.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer string
		kind   driver.Kind
	}{
		"no HTTP":            {"hello there\r\n\r\n", driver.KindProtocol},
		"a bad status":       {"HTTP/1.1 2x0 OK\r\n\r\n", driver.KindProtocol},
		"a huge header":      {"HTTP/1.1 200 OK\r\nA: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", driver.KindProtocol},
		"many headers":       {"HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 200_000) + "\r\n", driver.KindProtocol},
		"a header with LF":   {"HTTP/1.1 200 OK\r\nA\x00: b\r\n\r\n", driver.KindProtocol},
		"a short body":       {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", driver.KindTemporary},
		"a broken chunk":     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc", driver.KindProtocol},
		"a cut chunk":        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nabc", driver.KindTemporary},
		"two lengths":        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", driver.KindProtocol},
		"informational ones": {strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 100_000), driver.KindProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := script(t, func(conn net.Conn, r *bufio.Reader) {
				request(r)
				_, _ = io.WriteString(conn, c.answer)
			})
			_, err := get(t.Context(), t, plainClient(t, u, 5*time.Second, Options{}), http.MethodPost, u, "x")
			require.Error(t, err)
			assert.Contains(t, []driver.Kind{driver.KindProtocol, driver.KindTemporary}, driver.KindOf(err), "%v", err)
			assert.Equal(t, c.kind, driver.KindOf(err), "%v", err)
			assert.Less(t, len(err.Error()), 1000)
		})
	}
}

// Redirects are answers, and other places get nothing.
func TestOrigin(t *testing.T) {
	t.Parallel()
	s := newServer(t, "", true)
	c := newClient(t, s, Options{}, driver.WithLogin(user, password))
	for _, target := range []string{"https://other.example/", strings.Replace(s.URL, "https", "http", 1), "https://127.0.0.1:1/", "ftp://127.0.0.1/"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
		require.NoError(t, err)
		_, err = c.Do(req)
		var oe *OriginError
		require.ErrorAs(t, err, &oe, target)
		assert.Equal(t, driver.KindPolicy, driver.KindOf(err))
	}
	s.Config.Handler = http.RedirectHandler("https://other.example/", http.StatusFound)
	_, status, err := do(t, c, s, http.MethodGet, "")
	require.NoError(t, err)
	assert.Equal(t, http.StatusFound, status)
	for _, bad := range []string{"mailto:x", "http://", "https://u:p@h/"} {
		u, err := url.Parse(bad)
		require.NoError(t, err)
		n := driver.NewNetwork()
		_, err = New(&n, Options{Driver: "TEST", URL: u})
		assert.Equal(t, driver.KindConfig, driver.KindOf(err), bad)
	}
}

// Cookies come back byte for byte, on their path, until they end.
func TestCookies(t *testing.T) {
	t.Parallel()
	s := newServer(t, "", false)
	var set []string
	var got string
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Cookie")
		for _, v := range set {
			w.Header().Add("Set-Cookie", v)
		}
	})
	for _, jar := range []bool{true, false} {
		c := newClient(t, s, Options{Cookies: jar, MaxConns: 1})
		set = []string{`cadata="2,8JOr+/=="; HttpOnly; path=/`, "a=b; Path=/A%20B", "c=d; path=/elsewhere", "e=f; expires=Thu, 01 Jan 1970 00:00:00 GMT", "bad", "=x", "g=h; domain=other.example"}
		_, _, err := do(t, c, s, http.MethodGet, "")
		require.NoError(t, err)
		set = []string{"g=; path=/x", "g=; max-age=0"}
		_, _, err = do(t, c, s, http.MethodGet, "")
		require.NoError(t, err)
		if !jar {
			assert.Empty(t, got)
			continue
		}
		assert.Equal(t, `cadata="2,8JOr+/=="; a=b; g=h`, got)
		set = nil
		_, _, err = do(t, c, s, http.MethodGet, "")
		require.NoError(t, err)
		assert.Equal(t, `cadata="2,8JOr+/=="; a=b`, got)
		assert.Equal(t, `"2,8JOr+/=="`, c.Cookie("cadata"))
		c.Forget()
		assert.Empty(t, c.Cookie("cadata"))
	}
}

// A request without GetBody goes where it need not be sent twice.
func TestBodyOnce(t *testing.T) {
	t.Parallel()
	s := newServer(t, "basic", true)
	once := func(c *Client) error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, io.NopCloser(strings.NewReader("x")))
		require.NoError(t, err)
		resp, err := c.Do(req)
		if err == nil {
			Drain(resp)
		}
		return err
	}
	c := newClient(t, s, Options{}, driver.WithLogin(user, password))
	require.ErrorContains(t, once(c), "sent again")
	require.NoError(t, once(c), "now the scheme is known")
}
