package dsn

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files of this package anew")

// told is what the golden files hold of a result.
type told struct {
	Kind       Kind          `json:"kind"`
	Confidence string        `json:"confidence"`
	Agent      string        `json:"agent,omitempty"`
	MessageID  string        `json:"message_id,omitempty"`
	EnvelopeID string        `json:"envelope_id,omitempty"`
	Outcomes   []toldOutcome `json:"outcomes,omitempty"`
}

type toldOutcome struct {
	Recipient string `json:"recipient"`
	Action    string `json:"action,omitempty"`
	Status    string `json:"status,omitempty"`
	Derived   bool   `json:"derived,omitempty"`
	Reply     int    `json:"reply,omitempty"`
	Command   string `json:"command,omitempty"`
	Reason    Reason `json:"reason,omitempty"`
	Hard      bool   `json:"hard,omitempty"`
}

func tell(r *Result) told {
	t := told{Kind: r.Kind, Confidence: r.Confidence.String(), Agent: r.Agent, MessageID: r.Original.MessageID, EnvelopeID: r.Original.EnvelopeID}
	for _, o := range r.Outcomes {
		t.Outcomes = append(t.Outcomes, toldOutcome{o.Recipient, o.Action, o.Status.String(), o.StatusDerived, o.Reply, o.Command, o.Reason, o.Hard})
	}
	return t
}

// TestBounces reads a report in the shape of each mail system, and mail that
// only looks like one (none-*).
func TestBounces(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "bounces", "*.eml"))
	require.NoError(t, err)
	require.Greater(t, len(files), 40)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".eml")
		t.Run(name, func(t *testing.T) {
			raw, err := os.ReadFile(file)
			require.NoError(t, err)
			golden := strings.TrimSuffix(file, ".eml") + ".json"
			for i, how := range []string{"LF", "CRLF"} {
				in := bytes.ReplaceAll(raw, []byte("\n"), []byte([]string{"\n", "\r\n"}[i]))
				r, err := Detect(bytes.NewReader(in))
				require.NoError(t, err)
				got, err := json.MarshalIndent(tell(r), "", "  ")
				require.NoError(t, err)
				got = append(got, '\n')
				if *update && how == "LF" {
					require.NoError(t, os.WriteFile(golden, got, 0o600))
				}
				want, err := os.ReadFile(golden)
				require.NoError(t, err)
				assert.Equal(t, string(want), string(got), how)
				if strings.HasPrefix(name, "none-") {
					assert.False(t, r.IsReport())
					assert.Empty(t, r.Outcomes)
				} else if r.Kind != KindDisposition {
					assert.NotEmpty(t, r.Outcomes, "a report names who it is about")
				}
			}
		})
	}
}
