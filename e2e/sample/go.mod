module factory.test/sample

go 1.26
