package driver

import "strings"

// A ProxyError says at which step a proxy stood in the way, and what can be done
// about it where that is known. It is found with errors.As in an error of Op
// "proxy". It never holds a password.
type ProxyError struct {
	Proxy ProxyKind
	Addr  string // host:port of the proxy, "" if there is none yet
	// Step is one of "environment", "connect", "tls", "greeting", "login",
	// "request".
	Step string
	// Code is the HTTP status or SOCKS reply that says no, 0 if there was none.
	Code int
	Err  error
}

func (e *ProxyError) Error() string {
	var b strings.Builder
	b.WriteString(e.Proxy.String())
	b.WriteString(" proxy ")
	if e.Addr != "" {
		b.WriteString(e.Addr + " ")
	}
	b.WriteString(e.Step)
	b.WriteString(": ")
	b.WriteString(e.Err.Error())
	return b.String()
}

func (e *ProxyError) Unwrap() error { return e.Err }
