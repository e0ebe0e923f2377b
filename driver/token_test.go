package driver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// well is a source that counts, and whose tokens live for life.
type well struct {
	life  time.Duration
	takes time.Duration
	fails error
	asked int
}

func (w *well) token(ctx context.Context) (Token, error) {
	w.asked++
	n := w.asked
	select {
	case <-time.After(w.takes):
	case <-ctx.Done():
		return Token{}, ctx.Err()
	}
	if w.fails != nil {
		return Token{}, w.fails
	}
	t := Token{Value: NewSecret(fmt.Sprint("token-", n))}
	if w.life != 0 {
		t.Expiry = time.Now().Add(w.life)
	}
	return t, nil
}

func get(t *testing.T, s *TokenStore) string {
	t.Helper()
	token, err := s.Token(t.Context())
	require.NoError(t, err)
	return token.Value.Reveal()
}

func TestTokenRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &well{life: time.Hour}
		s := NewTokenStore(w.token)
		assert.Equal(t, "token-1", get(t, s))
		time.Sleep(time.Hour - TokenMargin - time.Second)
		assert.Equal(t, "token-1", get(t, s))
		time.Sleep(time.Second)
		assert.Equal(t, "token-2", get(t, s), "replaced shortly before it ends")

		w.fails = errors.New("the well is dry")
		time.Sleep(time.Hour - TokenMargin)
		assert.Equal(t, "token-2", get(t, s), "the last one still lives")
		asked := w.asked
		assert.Equal(t, "token-2", get(t, s))
		assert.Equal(t, asked, w.asked, "a source that fails is not asked at each login")
		time.Sleep(TokenMargin)
		_, err := s.Token(t.Context())
		require.ErrorIs(t, err, ErrNoToken)
		require.ErrorIs(t, err, w.fails)

		w.fails, w.life = nil, 8*time.Second
		first := get(t, s)
		time.Sleep(5 * time.Second)
		assert.Equal(t, first, get(t, s), "short lives have a short margin")
		time.Sleep(time.Second)
		assert.NotEqual(t, first, get(t, s))
	})
}

func TestTokenRefused(t *testing.T) {
	w := &well{}
	s := NewTokenStore(w.token)
	first, err := s.Token(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "token-1", get(t, s), "without expiry it is kept")
	assert.True(t, s.Refused(first))
	assert.False(t, s.Refused(first), "once")
	assert.Equal(t, "token-2", get(t, s))
	assert.False(t, s.Refused(first), "an old one says nothing about the new one")
	assert.Equal(t, "token-2", get(t, s))
}

func TestTokenSingleFlight(t *testing.T) {
	for name, fails := range map[string]error{"answer": nil, "failure": errors.New("the well is dry")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &well{takes: time.Second, fails: fails}
				s := NewTokenStore(w.token)
				var wg sync.WaitGroup
				for range 20 {
					wg.Go(func() {
						token, err := s.Token(t.Context())
						if fails != nil {
							assert.ErrorIs(t, err, fails)
							return
						}
						assert.NoError(t, err)
						assert.Equal(t, "token-1", token.Value.Reveal())
					})
				}
				wg.Wait()
				assert.Equal(t, 1, w.asked)
			})
		})
	}
}

// TestTokenImpatience has one caller give up: the next asks for himself.
func TestTokenImpatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &well{takes: 10 * time.Second}
		s := NewTokenStore(w.token)
		var wg sync.WaitGroup
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := s.Token(ctx)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
		})
		synctest.Wait()
		wg.Go(func() {
			token, err := s.Token(t.Context())
			assert.NoError(t, err)
			assert.Equal(t, "token-2", token.Value.Reveal())
		})
		synctest.Wait()
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			_, err := s.Token(ctx)
			assert.ErrorIs(t, err, ErrNoToken)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
		})
		wg.Wait()
	})
}

func TestTokenUnfit(t *testing.T) {
	for name, token := range map[string]Token{
		"empty":    {},
		"expired":  {Value: NewSecret("s3cret"), Expiry: time.Now().Add(-time.Second)},
		"line end": {Value: NewSecret("s3cret\r\nX: y")},
		"\\x01":    {Value: NewSecret("s3cret\x01")},
		"space":    {Value: NewSecret("s3 cret")},
		"huge":     {Value: NewSecret(strings.Repeat("s3cret", maxToken))},
	} {
		t.Run(name, func(t *testing.T) {
			s := NewTokenStore(func(context.Context) (Token, error) { return token, nil })
			_, err := s.Token(t.Context())
			require.ErrorIs(t, err, ErrNoToken)
			assert.NotContains(t, err.Error(), "s3")
			assert.NotContains(t, fmt.Sprintf("%v %+v %#v", token, token, token), "s3")
		})
	}
}
