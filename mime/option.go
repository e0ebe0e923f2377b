package mime

// An Option changes how [Parse] works.
type Option func(*config)

type config struct {
	limits Limits
}

// WithLimits bounds what one message may cost. Without it the defaults hold.
func WithLimits(l Limits) Option { return func(c *config) { c.limits = l } }
