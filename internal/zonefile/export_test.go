package zonefile

// SetBuffer makes reading begin with a buffer of n octets.
func (o *Options) SetBuffer(n int) { o.buffer = n }
