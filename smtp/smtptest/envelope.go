package smtptest

import (
	"slices"
	"strconv"
	"strings"
)

// path takes "FROM:<a@b> PARAM..." apart.
func path(args, word string) (addr string, params []string, ok bool) {
	if len(args) < len(word) || !strings.EqualFold(args[:len(word)], word) {
		return "", nil, false
	}
	rest, ok := strings.CutPrefix(args[len(word):], "<")
	if !ok {
		return "", nil, false
	}
	quoted := false
	for i := 0; i < len(rest); i++ {
		switch {
		case rest[i] == '\\' && quoted:
			i++
		case rest[i] == '"':
			quoted = !quoted
		case rest[i] == '>' && !quoted:
			tail := rest[i+1:]
			if tail != "" && tail[0] != ' ' {
				return "", nil, false
			}
			return rest[:i], strings.Fields(tail), true
		}
	}
	return "", nil, false
}

// check refuses parameters that no offered extension has.
func (c *conn) check(params []string, extensionOf map[string]string) (string, bool) {
	for _, p := range params {
		key, value, _ := strings.Cut(p, "=")
		ext := extensionOf[strings.ToUpper(key)]
		if ext == "" || !c.offers(ext) {
			c.violation("parameter %s without the extension", key)
			return "555 5.5.4 parameter " + key + " not known", false
		}
		if strings.EqualFold(key, "SIZE") {
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil || n < 0 {
				c.violation("SIZE=%q", value)
				return "501 5.5.4 bad SIZE", false
			}
			if limit := c.sizeLimit(); limit > 0 && n > limit {
				return "552 5.3.4 too large", false
			}
		}
	}
	return "", true
}

func (c *conn) sizeLimit() int64 {
	for _, x := range c.extensions() {
		if k, v, _ := strings.Cut(x, " "); strings.EqualFold(k, "SIZE") {
			n, _ := strconv.ParseInt(v, 10, 64)
			return n
		}
	}
	return 0
}

var (
	mailParams = map[string]string{
		"SIZE": "SIZE", "BODY": "8BITMIME", "RET": "DSN", "ENVID": "DSN", "AUTH": "AUTH", "SMTPUTF8": "SMTPUTF8",
		"REQUIRETLS": "REQUIRETLS", "BY": "DELIVERBY", "MT-PRIORITY": "MT-PRIORITY",
	}
	rcptParams = map[string]string{"NOTIFY": "DSN", "ORCPT": "DSN"}
)

func (c *conn) mail(args string) {
	addr, params, ok := path(args, "FROM:")
	refusal := ""
	switch {
	case !ok:
		c.violation("bad MAIL: %.60q", args)
		refusal = "501 5.5.4 bad MAIL"
	case c.stuck && c.s.sticky:
		refusal = "503 5.5.1 MAIL after BDAT"
	case c.helo == "" || c.pending != nil:
		c.violation("MAIL out of order")
		refusal = "503 5.5.1 out of order"
	case c.s.user != "" && c.user == "":
		refusal = "530 5.7.0 authentication required"
	default:
		refusal, _ = c.check(params, mailParams)
		if has(params, "BODY=BINARYMIME") && !(c.offers("BINARYMIME") && c.offers("CHUNKING")) {
			c.violation("BODY=BINARYMIME without the extension")
			refusal = "555 5.5.4 parameter BODY not known"
		}
		if has(params, "REQUIRETLS") && !c.tls {
			c.violation("REQUIRETLS without TLS")
		}
		c.judgeAddress(addr, has(params, "SMTPUTF8"))
	}
	if refusal != "" {
		c.answer(MAIL, refusal)
		return
	}
	if c.answer(MAIL, "250 2.1.0 sender ok") {
		c.pending = &Message{Conn: c.n, Helo: c.helo, User: c.user, TLS: c.tls, From: addr, Params: params}
	}
}

func (c *conn) rcpt(args string) {
	addr, params, ok := path(args, "TO:")
	refusal := ""
	switch {
	case !ok || addr == "":
		c.violation("bad RCPT: %.60q", args)
		refusal = "501 5.5.4 bad RCPT"
	case c.pending == nil:
		c.disorder("RCPT")
		refusal = "503 5.5.1 out of order"
	default:
		refusal, _ = c.check(params, rcptParams)
		c.judgeAddress(addr, has(c.pending.Params, "SMTPUTF8"))
	}
	if refusal == "" && slices.Contains(c.s.refused, addr) {
		refusal = "550 5.1.1 no such mailbox"
	}
	if refusal != "" {
		c.answer(RCPT, refusal)
		return
	}
	if c.answer(RCPT, "250 2.1.5 recipient ok") {
		c.pending.To = append(c.pending.To, Recipient{addr, params})
	}
}

// disorder notes a command that has no place here. In a pipelined group it is
// the fault of the refusal before it.
func (c *conn) disorder(verb string) {
	if !c.offers("PIPELINING") {
		c.violation("%s out of order", verb)
	}
}

func (c *conn) judgeAddress(addr string, declared bool) {
	for i := range len(addr) {
		if addr[i] >= 0x80 && !declared {
			c.violation("an address beyond ASCII without SMTPUTF8")
			return
		}
	}
}

func has(params []string, want string) bool {
	return slices.ContainsFunc(params, func(p string) bool { return strings.EqualFold(p, want) })
}
