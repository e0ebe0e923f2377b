package driver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
)

const redacted = "[secret]"

// maxSecret bounds a secret that comes from a file or a function, in bytes.
const maxSecret = 64 << 10

// A Secret is a password, passphrase or token, or the place to get one from.
// It prints as "[secret]" in every form, and stays unreadable when a struct
// that holds it unexported is printed; only Reveal gives the text. The zero
// Secret is empty. A Secret is immutable and may be shared by any number of
// goroutines.
type Secret struct {
	// Behind two pointers: fmt follows none within a struct with most verbs, and
	// one with verbs that do not fit.
	v **secretValue
}

type secretValue struct {
	text   string
	name   string // of the place, for errors
	source func(ctx context.Context) (string, error)
}

func secret(v secretValue) Secret {
	p := &v
	return Secret{&p}
}

// NewSecret wraps text.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return secret(secretValue{text: text})
}

// SecretFromEnv is the secret in an environment variable, read anew for each
// session. A variable that is not set, or empty, is an error then.
func SecretFromEnv(name string) Secret {
	return secret(secretValue{name: "environment variable " + name, source: func(context.Context) (string, error) {
		text := os.Getenv(name)
		if text == "" {
			return "", errors.New("it is not set")
		}
		return text, nil
	}})
}

// SecretFromFile is the secret in a file, read anew for each session, so that
// it may be replaced at any time. It must be a regular file of at most 64 KiB;
// one line end at its end is not part of the secret.
func SecretFromFile(path string) Secret {
	return secret(secretValue{name: "file " + path, source: func(context.Context) (string, error) { return readSecret(path) }})
}

// SecretFunc is a secret that a function gives, e.g. from a vault. It is
// called once for each session, possibly by several goroutines at a time, and
// must return when ctx ends. The text of its error is shown: it must hold no
// secret.
func SecretFunc(get func(ctx context.Context) (string, error)) Secret {
	if get == nil {
		return Secret{}
	}
	return secret(secretValue{name: "function", source: get})
}

// ParseSecret reads what a user writes in place of a secret: "env:NAME" and
// "file:PATH" name a place, "text:" is followed by the secret itself, and
// everything else is the secret.
func ParseSecret(s string) (Secret, error) {
	if text, ok := strings.CutPrefix(s, "text:"); ok {
		return NewSecret(text), nil
	}
	for prefix, from := range map[string]func(string) Secret{"env:": SecretFromEnv, "file:": SecretFromFile} {
		if name, ok := strings.CutPrefix(s, prefix); ok {
			if name == "" {
				return Secret{}, fmt.Errorf("%s is followed by nothing", prefix)
			}
			return from(name), nil
		}
	}
	return NewSecret(s), nil
}

// A SecretError says that a secret could not be had from its place.
type SecretError struct {
	Place string // e.g. "environment variable MAIL_PASSWORD"
	Err   error
}

func (e *SecretError) Error() string { return "no secret from " + e.Place + ": " + e.Err.Error() }
func (e *SecretError) Unwrap() error { return e.Err }

// Resolve gets the secret from its place, if it has one, and returns one that
// holds its text. The error is a [*SecretError].
func (s Secret) Resolve(ctx context.Context) (Secret, error) {
	if s.v == nil || (*s.v).source == nil {
		return s, nil
	}
	text, err := (*s.v).source(ctx)
	switch {
	case err != nil:
	case text == "":
		err = errors.New("it is empty")
	case len(text) > maxSecret:
		err = fmt.Errorf("longer than %d bytes: %w", maxSecret, ErrLimit)
	case strings.ContainsFunc(text, isControl):
		err = errors.New("it holds a control character")
	default:
		return NewSecret(text), nil
	}
	return Secret{}, &SecretError{(*s.v).name, err}
}

func readSecret(path string) (string, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is not a regular file")
	}
	if err != nil {
		return "", err
	}
	f, err := os.Open(path) //nolint:gosec // the host's configuration names it
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+3))
	if err != nil {
		return "", err
	}
	text, cut := bytes.CutSuffix(text, []byte("\n"))
	if cut {
		text = bytes.TrimSuffix(text, []byte("\r"))
	}
	return string(text), nil
}

// Reveal returns the text. It is "" for a secret that was not resolved.
func (s Secret) Reveal() string {
	if s.v == nil {
		return ""
	}
	return (*s.v).text
}

// IsZero reports whether the secret is empty and has no place to come from.
func (s Secret) IsZero() bool { return s.v == nil }

func (s Secret) String() string       { return redacted }
func (s Secret) GoString() string     { return redacted }
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText keeps the text out of XML and gob, and of maps in JSON.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON keeps the text out of JSON.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// Format keeps the text out of every verb of fmt, %x included.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// SecretText is how options take a secret: as a [Secret], or as its text.
type SecretText interface{ string | Secret }

func secretOf[T SecretText](v T) Secret {
	switch v := any(v).(type) {
	case Secret:
		return v
	case string:
		return NewSecret(v)
	}
	return Secret{}
}
