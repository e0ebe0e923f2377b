package mime

// An Option changes how [Parse] works.
type Option func(*config)

type config struct {
	limits Limits
	expand bool
}

// WithLimits bounds what one message may cost. Without it the defaults hold.
func WithLimits(l Limits) Option { return func(c *config) { c.limits = l } }

// WithExpansion finds the files that hide in other parts and makes [Part.Virtual]
// parts of them: uuencoded and yEnc files in the text of a message, and what
// Outlook packs into TNEF (winmail.dat): bodies and attachments. The lines of a
// file found in text are not written to the text.
func WithExpansion() Option { return func(c *config) { c.expand = true } }
