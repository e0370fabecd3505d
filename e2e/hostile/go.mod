module factory.test/hostile

go 1.26
