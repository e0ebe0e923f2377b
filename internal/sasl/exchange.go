package sasl

import (
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/ntlm"
)

// maxChallenges ends an exchange with a server that never comes to the point.
const maxChallenges = 16

// A Conversation is the protocol's part of an exchange.
type Conversation interface {
	// Start sends the protocol's command with args: the mechanism's name, and
	// the initial response in base64 ("=" for an empty one) if there is one.
	Start(args string) error
	// Send sends one line: a response in base64, or "*" to cancel.
	Send(line string) error
	// Receive reads the server's answer. With more, text is a challenge in
	// base64. Without more and without an error it is the protocol's reply
	// of success. A refusal is an error.
	Receive() (text []byte, more bool, err error)
	// Hide names a text that must not come back in an error or a log.
	Hide(secret string)
}

// Exchange logs in. maxArgs is the longest argument of the protocol's command:
// an initial response that does not fit is sent after an empty challenge
// instead (RFC 4954 section 4, RFC 5034 section 4); 0 means that the protocol
// has none.
//
// It returns nil only if the server said so with its reply of success, and the
// client has what it needs of the server: a success before that is an error of
// kind policy, after which the connection must not be used. When the client gives up the exchange is cancelled with "*", so that the
// conversation stays in step. Errors of conv come back as they are, others are
// [*driver.Error] of kind auth or protocol; none holds a secret.
func Exchange(c Client, conv Conversation, maxArgs int) error {
	mech, ir, err := c.Start()
	if err != nil {
		return authError(kindOr(err, driver.KindAuth), err)
	}
	args, held := mech, false
	if ir != nil {
		text := "="
		if len(ir) > 0 {
			text = base64.StdEncoding.EncodeToString(ir)
		}
		if held = len(mech)+1+len(text) > maxArgs; !held {
			args += " " + text
			hideLine(conv, text)
		}
	}
	if err := conv.Start(args); err != nil {
		return err
	}
	for range maxChallenges {
		text, more, err := conv.Receive()
		if err != nil {
			return err
		}
		if !more {
			return complete(c)
		}
		answer, err := answerTo(c, text, ir, &held)
		if err != nil {
			return cancel(conv, err)
		}
		line := base64.StdEncoding.EncodeToString(answer)
		hideLine(conv, line)
		if err := conv.Send(line); err != nil {
			return err
		}
	}
	switch _, more, err := conv.Receive(); {
	case err != nil:
		return err
	case !more:
		return complete(c)
	}
	return cancel(conv, authError(driver.KindProtocol, fmt.Errorf("%s: more than %d challenges: %w", mech, maxChallenges, driver.ErrLimit)))
}

// hideLine hides a response. Shorter ones are no secret and would be found
// everywhere.
func hideLine(conv Conversation, line string) {
	if len(line) >= 8 {
		conv.Hide(line)
	}
}

func complete(c Client) error {
	if done, ok := c.(completer); ok {
		if err := done.Complete(); err != nil {
			return authError(driver.KindPolicy, fmt.Errorf("success without proof: %w", err))
		}
	}
	return nil
}

func answerTo(c Client, text, ir []byte, held *bool) ([]byte, error) {
	if *held {
		// Some servers say something here, and not in base64.
		*held = false
		return ir, nil
	}
	challenge, err := decode(text)
	if err != nil {
		return nil, authError(driver.KindProtocol, errors.New("the server's challenge is not base64"))
	}
	answer, err := c.Next(challenge)
	if err != nil {
		return nil, authError(kindOf(err), err)
	}
	if answer == nil {
		answer = []byte{}
	}
	return answer, nil
}

// kindOf is the kind of a client's error: a server without proof and one that
// wants NTLMv1 are not what we log in to, a bad NTLM message is no protocol, and
// all else concerns this login.
func kindOf(err error) driver.Kind {
	switch {
	case errors.Is(err, driver.ErrServerProof), errors.Is(err, ntlm.ErrNotV2):
		return driver.KindPolicy
	case errors.Is(err, ntlm.ErrChallenge):
		return driver.KindProtocol
	}
	return kindOr(err, driver.KindAuth)
}

// decode reads a challenge. "=" stands for an empty one in some servers, by
// analogy with the initial response.
func decode(text []byte) ([]byte, error) {
	if len(text) == 0 || string(text) == "=" {
		return []byte{}, nil
	}
	return base64.StdEncoding.AppendDecode(nil, text)
}

// cancel ends an exchange that we gave up. The server must answer with a
// refusal; success after a cancel is no success.
func cancel(conv Conversation, cause error) error {
	if err := conv.Send("*"); err != nil {
		return cause
	}
	_, _, _ = conv.Receive()
	return cause
}

func authError(k driver.Kind, err error) error {
	return &driver.Error{Op: "auth", Kind: k, Err: err}
}
