// Command port53 serves, checks and guards port 53.
package main

func main() {}
