// Package oauth2test has an authorisation server for tests, in the process and
// without a network. It does client credentials, refresh tokens with rotation,
// the device flow and signed assertions as the RFCs say, and anything else when
// told to.
package oauth2test

import (
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// The addresses of the server; its [Server.Transport] answers any host.
const (
	TokenURL  = "https://login.example.com/token"
	DeviceURL = "https://login.example.com/device"
)

// A Server issues tokens. Its fields are set before the first request; its
// methods may be called by any number of goroutines. It starts none.
type Server struct {
	// ClientID and ClientSecret are those of the one client; an empty secret
	// makes it a public client.
	ClientID, ClientSecret string
	// Key verifies assertions; nil refuses them.
	Key *rsa.PublicKey
	// Life is that of access tokens; zero leaves expires_in out.
	Life time.Duration
	// Refresh is the refresh token that is good now.
	Refresh string
	// Rotate replaces the refresh token at each use. The old one, used again,
	// ends the authorisation (RFC 9700 section 4.14.2).
	Rotate bool
	// Interval and DeviceLife, in seconds, go into the device answer; zero
	// leaves them out.
	Interval, DeviceLife int

	mu       sync.Mutex
	issued   int
	requests []Request
	script   []http.HandlerFunc
	old      map[string]bool // refresh tokens of before
	answer   string          // "", "approved" or "denied"
	lastPoll time.Time
}

// A Request is one that the server got.
type Request struct {
	Path           string
	Form           url.Values
	User, Password string // of HTTP Basic
	At             time.Time
}

// DeviceCode and UserCode are those of every device answer.
const (
	DeviceCode = "device-code-secret"
	UserCode   = "WDJB-MJHT"
)

// New makes a server with a confidential client "app", tokens of an hour, and a
// refresh token.
func New() *Server {
	return &Server{
		ClientID: "app", ClientSecret: "app-secret/ü+1", Life: time.Hour,
		Refresh: "refresh-secret-0", Interval: 5, DeviceLife: 900,
	}
}

// Then answers the next requests, one each, in place of the server.
func (s *Server) Then(answers ...http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = append(s.script, answers...)
}

// Approve and Deny are the user's answer to the device flow.
func (s *Server) Approve() { s.decide("approved") }

// Deny refuses the device flow.
func (s *Server) Deny() { s.decide("denied") }

func (s *Server) decide(answer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// Requests lists what came.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request{}, s.requests...)
}

// Answer gives a fixed answer of type application/json.
func Answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// Mute does not answer before the client gives up.
func Mute(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// ServeHTTP takes requests for /token and /device.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil || r.Method != http.MethodPost {
		http.Error(w, "want a form", http.StatusBadRequest)
		return
	}
	req := Request{Path: r.URL.Path, Form: r.PostForm, At: time.Now()}
	if u, p, ok := r.BasicAuth(); ok { // RFC 6749 section 2.3.1: encoded twice
		req.User, _ = url.QueryUnescape(u)
		req.Password, _ = url.QueryUnescape(p)
	}
	s.mu.Lock()
	s.requests = append(s.requests, req)
	if len(s.script) > 0 {
		h := s.script[0]
		s.script = s.script[1:]
		s.mu.Unlock()
		h(w, r)
		return
	}
	defer s.mu.Unlock()
	switch r.URL.Path {
	case "/token":
		s.token(w, req)
	case "/device":
		s.device(w, req)
	default:
		http.NotFound(w, r)
	}
}

func (s *Server) token(w http.ResponseWriter, r Request) {
	if code := s.client(r); code != "" {
		refuse(w, http.StatusUnauthorized, code)
		return
	}
	switch grant := r.Form.Get("grant_type"); grant {
	case "client_credentials":
		s.issue(w, "")
	case "refresh_token":
		s.refresh(w, r.Form.Get("refresh_token"))
	case "urn:ietf:params:oauth:grant-type:device_code":
		s.poll(w, r)
	case "urn:ietf:params:oauth:grant-type:jwt-bearer":
		if _, err := Verify(r.Form.Get("assertion"), s.Key); err != nil {
			refuse(w, http.StatusBadRequest, "invalid_grant")
			return
		}
		s.issue(w, "")
	default:
		refuse(w, http.StatusBadRequest, "unsupported_grant_type")
	}
}

// client checks who asks.
func (s *Server) client(r Request) (code string) {
	if r.Form.Get("grant_type") == "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		return ""
	}
	id, secret := r.User, r.Password
	if id == "" {
		id, secret = r.Form.Get("client_id"), r.Form.Get("client_secret")
	}
	if a := r.Form.Get("client_assertion"); a != "" && s.Key != nil {
		claims, err := Verify(a, s.Key)
		if err == nil && claims["sub"] == s.ClientID && id == s.ClientID {
			return ""
		}
		return "invalid_client"
	}
	if id != s.ClientID || secret != s.ClientSecret {
		return "invalid_client"
	}
	return ""
}

func (s *Server) refresh(w http.ResponseWriter, token string) {
	if s.old[token] {
		s.Refresh = "" // somebody has stolen it
	}
	if token == "" || token != s.Refresh {
		refuse(w, http.StatusBadRequest, "invalid_grant")
		return
	}
	next := ""
	if s.Rotate {
		if s.old == nil {
			s.old = make(map[string]bool)
		}
		s.old[token] = true
		next = fmt.Sprintf("refresh-secret-%d", len(s.old))
		s.Refresh = next
	}
	s.issue(w, next)
}

func (s *Server) issue(w http.ResponseWriter, refresh string) {
	s.issued++
	body := map[string]any{"access_token": fmt.Sprintf("access-secret-%d", s.issued), "token_type": "bearer"}
	if s.Life != 0 {
		body["expires_in"] = int(s.Life / time.Second)
	}
	if refresh != "" {
		body["refresh_token"] = refresh
	}
	reply(w, http.StatusOK, body)
}

func (s *Server) device(w http.ResponseWriter, r Request) {
	if r.Form.Get("client_id") != s.ClientID {
		refuse(w, http.StatusUnauthorized, "invalid_client")
		return
	}
	body := map[string]any{
		"device_code": DeviceCode, "user_code": UserCode, "verification_uri": "https://login.example.com/code",
		"verification_uri_complete": "https://login.example.com/code?c=" + UserCode,
	}
	if s.Interval != 0 {
		body["interval"] = s.Interval
	}
	if s.DeviceLife != 0 {
		body["expires_in"] = s.DeviceLife
	}
	s.lastPoll = r.At
	reply(w, http.StatusOK, body)
}

func (s *Server) poll(w http.ResponseWriter, r Request) {
	early := r.At.Sub(s.lastPoll) < time.Duration(max(s.Interval, 1))*time.Second
	s.lastPoll = r.At
	switch {
	case r.Form.Get("device_code") != DeviceCode:
		refuse(w, http.StatusBadRequest, "invalid_grant")
	case early:
		refuse(w, http.StatusBadRequest, "slow_down")
	case s.answer == "approved":
		s.issue(w, s.Refresh)
	case s.answer == "denied":
		refuse(w, http.StatusBadRequest, "access_denied")
	default:
		refuse(w, http.StatusBadRequest, "authorization_pending")
	}
}

func refuse(w http.ResponseWriter, status int, code string) {
	reply(w, status, map[string]any{"error": code, "error_description": "the server says " + code})
}

func reply(w http.ResponseWriter, status int, body map[string]any) {
	b, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

// Transport brings requests to the server without a network, in the caller's
// goroutine, so that tests may use it inside a testing/synctest bubble.
func (s *Server) Transport() http.RoundTripper { return transport{s} }

type transport struct{ h http.Handler }

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	t.h.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}
