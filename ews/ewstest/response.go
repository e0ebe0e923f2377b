package ewstest

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// The namespaces on the wire.
const (
	nsSOAP     = "http://schemas.xmlsoap.org/soap/envelope/"
	nsMessages = "http://schemas.microsoft.com/exchange/services/2006/messages"
	nsTypes    = "http://schemas.microsoft.com/exchange/services/2006/types"
	nsErrors   = "http://schemas.microsoft.com/exchange/services/2006/errors"
)

// A Response takes the place of the server's own.
type Response struct {
	Status int // 0 is 200
	Header http.Header
	Body   []byte
	// Write, if set, does all of it.
	Write func(w http.ResponseWriter, r *http.Request)
	// Cut ends the connection instead.
	Cut bool
}

func (a *Response) write(_ *Server, w http.ResponseWriter, r *http.Request, _ *Request) {
	switch {
	case a.Cut:
		panic(http.ErrAbortHandler)
	case a.Write != nil:
		a.Write(w, r)
		return
	}
	for name, values := range a.Header {
		w.Header()[name] = values
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	}
	if a.Status != 0 {
		w.WriteHeader(a.Status)
	}
	_, _ = w.Write(a.Body)
}

// Intercept has f look at every request of the service before the server does.
// What f returns, if not nil, is the answer. The latest f is asked first.
func (s *Server) Intercept(f func(*Request) *Response) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = append([]func(*Request) *Response{f}, s.intercept...)
}

func (s *Server) intercepted(r *Request) *Response {
	s.mu.Lock()
	list := s.intercept
	s.mu.Unlock()
	for _, f := range list {
		if a := f(r); a != nil {
			return a
		}
	}
	return nil
}

// Nth makes an answer for the nth request of an operation, from 1, alone. "" is
// every operation.
func Nth(operation string, n int, answer *Response) func(*Request) *Response {
	return func(r *Request) *Response {
		if operation != "" && r.Operation != operation {
			return nil
		}
		if n--; n != 0 {
			return nil
		}
		return answer
	}
}

func escape(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}

// Fault is a SOAP fault as Exchange 2010 and later send it, with HTTP status 500.
// backOff is BackOffMilliseconds, none if it is 0.
func Fault(code, text string, backOff time.Duration) *Response {
	hint := ""
	if backOff > 0 {
		hint = fmt.Sprintf(`<t:MessageXml xmlns:t="%s"><t:Value Name="BackOffMilliseconds">%d</t:Value></t:MessageXml>`, nsTypes, backOff.Milliseconds())
	}
	body := fmt.Sprintf(`<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="%s"><s:Body><s:Fault><faultcode xmlns:a="%s">a:%s</faultcode><faultstring xml:lang="de-DE">%s</faultstring><detail><e:ResponseCode xmlns:e="%s">%s</e:ResponseCode><e:Message xmlns:e="%s">%s</e:Message>%s</detail></s:Fault></s:Body></s:Envelope>`,
		nsSOAP, nsTypes, escape(code), escape(text), nsErrors, escape(code), nsErrors, escape(text), hint)
	return &Response{Status: http.StatusInternalServerError, Body: []byte(body)}
}

// Refusal is an error inside an answer with HTTP status 200, to a request with
// so many objects, each refused.
func Refusal(operation, code, text string, backOff time.Duration, objects int) *Response {
	var b strings.Builder
	for range objects {
		b.WriteString(failure(operation, code, text, backOff))
	}
	return &Response{Body: []byte(envelope("", operation, b.String()))}
}

// Answer wraps response messages into an answer.
func Answer(operation, messages string) *Response {
	return &Response{Body: []byte(envelope("", operation, messages))}
}

func failure(operation, code, text string, backOff time.Duration) string {
	hint := ""
	if backOff > 0 {
		hint = fmt.Sprintf(`<m:MessageXml><t:Value Name="BackOffMilliseconds">%d</t:Value></m:MessageXml>`, backOff.Milliseconds())
	}
	switch operation {
	case "GetItem", "UpdateItem", "MoveItem", "CreateItem":
		hint += "<m:Items/>"
	}
	return fmt.Sprintf(`<m:%sResponseMessage ResponseClass="Error"><m:MessageText>%s</m:MessageText><m:ResponseCode>%s</m:ResponseCode><m:DescriptiveLinkKey>0</m:DescriptiveLinkKey>%s</m:%sResponseMessage>`,
		operation, escape(text), escape(code), hint, operation)
}

func success(operation, payload string) string {
	return fmt.Sprintf(`<m:%sResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode>%s</m:%sResponseMessage>`, operation, payload, operation)
}

func envelopeStart(header, operation string) string {
	return fmt.Sprintf(`<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="%s"><s:Header>%s</s:Header><s:Body xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><m:%sResponse xmlns:m="%s" xmlns:t="%s"><m:ResponseMessages>`,
		nsSOAP, header, operation, nsMessages, nsTypes)
}

func envelopeEnd(operation string) string {
	return `</m:ResponseMessages></m:` + operation + `Response></s:Body></s:Envelope>`
}

func envelope(header, operation, messages string) string {
	return envelopeStart(header, operation) + messages + envelopeEnd(operation)
}

// An out writes an answer as it is made.
type out struct {
	s  *Server
	w  *bufio.Writer
	op string
}

func (s *Server) begin(w http.ResponseWriter, op string) *out {
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	o := &out{s: s, w: bufio.NewWriterSize(w, 64<<10), op: op}
	o.raw(envelopeStart(s.versionInfo(), op))
	return o
}

// raw writes markup of the server's own, with its prefixes.
func (o *out) raw(text string) {
	if o.s.prefixes != nil {
		text = o.s.prefixes.Replace(text)
	}
	_, _ = o.w.WriteString(text)
}

func (o *out) fail(code, text string) { o.raw(failure(o.op, code, text, 0)) }
func (o *out) ok(payload string)      { o.raw(success(o.op, payload)) }

func (o *out) end() {
	o.raw(envelopeEnd(o.op))
	_ = o.w.Flush()
}

// fault answers a request as a whole.
func (s *Server) fault(w http.ResponseWriter, code, text string) {
	a := Fault(code, text, 0)
	a.Body = bytes.Replace(a.Body, []byte("<s:Body>"), []byte("<s:Header>"+s.versionInfo()+"</s:Header><s:Body>"), 1)
	a.write(s, w, nil, nil)
}
