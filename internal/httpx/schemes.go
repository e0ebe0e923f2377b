package httpx

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/httpauth"
)

func (c *Client) newLogin(l *lane, scheme string, offered []httpauth.Challenge) login {
	switch scheme {
	case schemeBearer:
		return &bearerLogin{c: c}
	case schemeDigest:
		lg := &digestLogin{c: c}
		if offered != nil {
			lg.offer(offered)
		}
		return lg
	case schemeNTLM:
		return &ntlmLogin{l: l, scheme: "NTLM"}
	case schemeNegotiate:
		if c.net.Negotiator == nil {
			return &ntlmLogin{l: l, scheme: "Negotiate"} // servers take bare NTLM here ([MS-N2HT])
		}
		return &negotiateLogin{l: l}
	}
	return &basicLogin{c: c}
}

// A basicLogin is RFC 7617. The credentials go with the request, once.
type basicLogin struct{ c *Client }

func (b *basicLogin) header(context.Context, *http.Request) (string, bool, error) {
	n := &b.c.net
	user := n.User
	if n.Domain != "" && !strings.ContainsAny(user, `\@`) {
		user = n.Domain + `\` + user
	}
	value, err := httpauth.Basic(user, n.Password.Reveal())
	b.c.show(strings.TrimPrefix(value, "Basic "))
	return value, false, err
}
func (*basicLogin) challenged(*try, []httpauth.Challenge) (bool, error) { return false, nil }
func (*basicLogin) settled(*try, *http.Response) error                  { return nil }

// A bearerLogin is RFC 6750. A token that was refused is replaced once.
type bearerLogin struct {
	c       *Client
	token   driver.Token
	again   bool
	refused string
}

func (b *bearerLogin) header(ctx context.Context, _ *http.Request) (string, bool, error) {
	var err error
	if b.token, err = b.c.net.Tokens.Token(ctx); err != nil {
		return "", false, err
	}
	value := b.token.Value.Reveal()
	if b.again && value == b.refused {
		return "", false, errors.New("the access token was refused, and the source has no other")
	}
	if value == "" || strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", false, fmt.Errorf("%w: the source gave one that cannot stand in a header", driver.ErrNoToken)
	}
	b.c.sent(value)
	return "Bearer " + value, false, nil
}

// maxTokens is how many tokens are remembered: an answer may come after the
// next one was fetched.
const maxTokens = 4

// sent remembers a token, so that an answer that repeats it can be scrubbed.
func (c *Client) sent(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.Contains(c.tokens, token) {
		return
	}
	if len(c.tokens) == maxTokens {
		c.tokens = append(c.tokens[:0], c.tokens[1:]...)
	}
	c.tokens = append(c.tokens, token)
}

func (b *bearerLogin) challenged(*try, []httpauth.Challenge) (bool, error) {
	b.c.net.Tokens.Refused(b.token)
	if b.again {
		return false, nil
	}
	b.again, b.refused = true, b.token.Value.Reveal()
	return true, nil
}
func (*bearerLogin) settled(*try, *http.Response) error { return nil }

// answerToken reads the token of a challenge of NTLM or Negotiate.
func answerToken(ch httpauth.Challenge) ([]byte, error) {
	if ch.Token == "" {
		return nil, nil
	}
	b, err := base64.StdEncoding.DecodeString(ch.Token)
	if err != nil {
		return nil, errors.New("the server's token is not base64")
	}
	return b, nil
}
